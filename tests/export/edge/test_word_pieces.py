"""Exports of models of word pieces: what programs in other languages make of labels.txt and model.json."""

import json
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

import jasper_tf.export.web
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.interop.nemo.model import import_nemo
from tests.export.edge.test_model_info import INFO

GREEDY = Path(jasper_tf.export.web.__file__).parent / "page" / "greedy.js"
_PROGRAM = """
import { decode, groupLabels } from "./greedy.mjs";
import fs from "node:fs";
const { info, rows } = JSON.parse(fs.readFileSync(0));
const texts = rows.map((row) => {
  const labels = row.map((label, k) => ({ label, start: k, end: k + 1, confidence: 1 }));
  return [decode(labels, info), groupLabels(labels, info.labels, 1).map(({ text }) => text)];
});
console.log(JSON.stringify(texts));
"""


def random_rows(tokenizer):
    """Labels in any order, some with `<unk>`: first, last, before and behind pieces of words."""
    rng = np.random.default_rng(0)
    unknown = [i for i, name in enumerate(tokenizer.vocabulary) if name in ("<unk>", "[UNK]")]
    rows = [rng.integers(0, len(tokenizer), 6).tolist() for _ in range(50)]
    return [[], unknown, *rows, *(unknown + row[:2] + unknown + row[2:] + unknown for row in rows)]


@pytest.mark.parametrize("kind", ["unigram", "wpe"])
def test_joined_and_stripped_labels_are_the_text(piece_tokenizers, kind):
    tokenizer = piece_tokenizers[kind]
    for row in random_rows(tokenizer):
        assert "".join(tokenizer.pieces[i] for i in row).strip() == tokenizer.decode(row).strip()


@pytest.mark.parametrize("kind", ["unigram", "wpe"])
def test_the_page_writes_the_text(piece_tokenizers, tmp_path, kind):
    if shutil.which("node") is None:
        pytest.skip("needs Node.js")
    tokenizer = piece_tokenizers[kind]
    info = json.loads(INFO.__class__(**{**vars(INFO), "tokenizer": tokenizer}).to_json())
    rows = random_rows(tokenizer)
    shutil.copy(GREEDY, tmp_path / "greedy.mjs")
    (tmp_path / "program.mjs").write_text(_PROGRAM)
    given = json.dumps({"info": info, "rows": rows})
    run = subprocess.run(["node", tmp_path / "program.mjs"], input=given, capture_output=True, text=True, check=True)
    for row, (text, words) in zip(rows, json.loads(run.stdout), strict=True):
        assert text == tokenizer.decode(row)
        assert words == text.split()


@pytest.mark.medium
def test_an_export_gives_the_texts_of_the_model(golden, tmp_path):
    pytest.importorskip("onnxruntime", reason="needs onnxruntime")
    model = import_nemo(golden / "unigram.nemo").model
    folder = export_edge(model, tmp_path / "edge", "onnx", say=lambda line: None)
    found = load_recognizer(folder / "model.onnx")
    audio = np.random.default_rng(0).normal(size=16000).astype(np.float32) * np.float32(0.1)
    wanted, transcript = model.transcribe(audio), found.transcribe(audio)
    assert transcript.text == wanted.text != ""
    assert [word.text for word in transcript.words] == [word.text for word in wanted.words]
    lines = (folder / "labels.txt").read_text(encoding="utf-8").split("\n")[:-1]
    log_probs, frames = found.log_probs(audio[None], np.array([len(audio)], np.int32))
    path = log_probs[0, : frames[0]].argmax(axis=1)
    path = path[np.diff(path, prepend=-1) != 0]
    assert "".join(lines[i] for i in path if i < len(lines)).strip() == wanted.text.strip()
