"""Runs the Python examples of README.md and docs/, those of a page one after the other."""

import contextlib
import io
import json
import shutil
from pathlib import Path

import pytest

from jasper_tf.language_model.arpa import write_arpa
from jasper_tf.language_model.corpus import read_corpus
from jasper_tf.language_model.kneser_ney import estimate
from tests.docs.pages import PAGES, blocks

EXAMPLES = {page: [block for block in blocks(page) if block.language == "python"] for page in PAGES}


@pytest.fixture
def workplace(tiny_run, spoken_corpus, tmp_path, monkeypatch) -> Path:
    """A folder as docs/api.md describes it."""
    _, run, _ = tiny_run
    (tmp_path / "runs").mkdir()
    (tmp_path / "runs/my").symlink_to(run)
    shutil.copy(run / "config.yaml", tmp_path / "my.yaml")
    (tmp_path / "data").mkdir()
    lines = [json.loads(line) for line in (spoken_corpus / "test.jsonl").read_text().splitlines()[:3]]
    for line in lines:
        line["audio_filepath"] = str(spoken_corpus / line["audio_filepath"])
    (tmp_path / "data/test_manifest.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    shutil.copy(lines[0]["audio_filepath"], tmp_path / "recording.wav")
    corpus = read_corpus([("texts", line["text"].encode()) for line in lines], "word", "texts")
    write_arpa(estimate(corpus, 2, discount_fallback=True), tmp_path / "lm.arpa.gz")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("page", [page for page, found in EXAMPLES.items() if found], ids=lambda page: page.name)
def test_the_examples_of_a_page_run(page, workplace):
    names = {"__name__": "example"}
    with contextlib.redirect_stdout(io.StringIO()):
        for block in EXAMPLES[page]:
            exec(compile(block.text, block.place, "exec"), names)


def test_there_are_examples():
    assert len([block for found in EXAMPLES.values() for block in found]) > 12
