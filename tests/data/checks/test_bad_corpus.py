"""Every kind of fault, once or more, in one corpus: found at its line, and nowhere else."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jasper_tf.__main__ import main
from jasper_tf.audio.containers import plain_wav_header
from jasper_tf.data.checks.audio import AudioRules, examine
from jasper_tf.data.checks.fault_table import FAULT_TABLE
from jasper_tf.data.checks.faults import KINDS, NOTES
from jasper_tf.data.manifest.columns import Utterance, read_manifest

ROOT = Path(__file__).parents[3]


@pytest.fixture(scope="module")
def corpus(bad_corpus, tiny_config, tmp_path_factory) -> Path:
    """The bad corpus, a configuration that names it, and what the command wrote about it."""
    folder = tmp_path_factory.mktemp("check")
    shutil.copytree(bad_corpus, folder, dirs_exist_ok=True)
    values = tiny_config().to_dict()
    values["model"]["train_ds"]["manifest_filepath"] = str(folder / "train.json")
    values["model"]["validation_ds"]["manifest_filepath"] = str(folder / "dev.json")
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    return folder


@pytest.fixture(scope="module")
def done(corpus) -> subprocess.CompletedProcess:
    command = [
        sys.executable,
        "-m",
        "jasper_tf",
        "check",
        "--config",
        "config.yaml",
        "--audio",
        "--list",
        "faults.jsonl",
    ]
    command += ["--write-clean", "clean.json", "--picture", "rates.png"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=corpus, env=environment, capture_output=True, text=True, timeout=300)


@pytest.fixture(scope="module")
def listed(corpus, done) -> list[dict]:
    return [json.loads(line) for line in (corpus / "faults.jsonl").read_text(encoding="utf-8").splitlines()]


def test_each_line_has_its_kind_and_no_other_has_any(corpus, listed):
    found: dict[int, set[str]] = {}
    for fault in listed:
        assert fault["manifest"] == str(corpus / "train.json"), fault
        found.setdefault(fault["line"], set()).add(fault["kind"])
    expected = json.loads((corpus / "kinds.json").read_text())
    assert found == {int(line): {kind} for line, kind in expected.items()}
    beyond_this_corpus = {"too long", "no such channel"}
    assert set(expected.values()) == set(KINDS) - beyond_this_corpus


def test_the_table_counts_them(done, listed, without_tensorflow_log):
    assert done.returncode == 1, done.stdout + done.stderr
    assert without_tensorflow_log(done.stderr) == ""
    for kind in {fault["kind"] for fault in listed}:
        name = f"{kind} (no fault)" if kind in NOTES else kind
        (row,) = re.findall(rf"^{re.escape(name)} +(\d+) +(\S+)  (.*)$", done.stdout, re.M)
        of_kind = [fault for fault in listed if fault["kind"] == kind]
        first = of_kind[0]
        assert int(row[0]) == len(of_kind)
        assert row[2] == f"{first['manifest']}:{first['line']}: {first['detail']}"
    assert "dev.json: 2 lines, 0.00 h: no fault" in done.stdout


def test_the_documented_lines_are_those_it_prints(corpus, listed):
    """FAULT_TABLE holds "kind: line", long lines go on indented; FOLDER stands for the corpus's."""
    documented: list[tuple[str, str]] = []
    for row in FAULT_TABLE.splitlines():
        if row.startswith("      "):
            kind, text = documented.pop()
            documented.append((kind, f"{text} {row.strip()}"))
        elif match := re.fullmatch(r"  (\S.*?)(?:  +(.*))?", row):
            documented.append((match[1], match[2] or ""))
    assert all(kind in KINDS for kind, _ in documented)
    good = Utterance(str(corpus / "wav/good3.wav"), 0.0, 1.0, "yes", "train.json:1")
    there = examine(good, AudioRules(channel_selector=3)).faults
    with open(corpus / "long.wav", "wb") as file:
        size = 44 + 2 * 8000 * 9000
        file.write(plain_wav_header(size, 8000))
        file.truncate(size)  # a hole: it takes no room
    there += examine(Utterance(str(corpus / "long.wav"), 0.0, 9000.0, "yes", "train.json:2"), AudioRules()).faults
    printed = {(kind, detail.replace(str(corpus), "FOLDER")) for kind, detail in there}
    printed |= {(fault["kind"], fault["detail"].replace(str(corpus), "FOLDER")) for fault in listed}
    assert set(documented) <= printed, "\n".join(f"{kind}: {detail}" for kind, detail in sorted(printed))
    assert {kind for kind, _ in documented} == {kind for kind, _ in printed}


def test_the_clean_manifest_is_the_other_lines_byte_for_byte(corpus, listed):
    faulty = {fault["line"] for fault in listed if fault["kind"] not in NOTES}
    lines = (corpus / "train.json").read_bytes().split(b"\n")
    kept = [line for number, line in enumerate(lines, start=1) if number not in faulty]
    assert (corpus / "clean.json").read_bytes() == b"".join(line + b"\n" for line in kept)
    assert len(read_manifest(str(corpus / "clean.json"))) == 61
    assert (corpus / "rates.png").read_bytes().startswith(b"\x89PNG")


def test_the_clean_manifest_is_clean(corpus, done, capsys):
    override = f"model.train_ds.manifest_filepath={corpus / 'clean.json'}"
    assert main(["check", "--config", str(corpus / "config.yaml"), override, "--audio"]) == 0
    out = capsys.readouterr().out
    assert "clean.json: 61 lines" in out and "wrong rate (no fault)" in out


def test_training_drops_the_same_texts_for_ctc(corpus, listed, tiny_config):
    from jasper_tf.training.datasets import build_batches

    infeasible = [fault["line"] for fault in listed if fault["kind"] == "infeasible for CTC"]
    lines = (corpus / "train.json").read_bytes().split(b"\n")
    (corpus / "some.json").write_bytes(b"\n".join([lines[0], *(lines[number - 1] for number in infeasible), lines[1]]))
    cfg = tiny_config(f"model.train_ds.manifest_filepath={corpus / 'some.json'}")
    _, selection = build_batches(cfg, "train_ds")
    (group,) = selection.left_out
    assert group.index.tolist() == list(range(1, 1 + len(infeasible)))
    assert list(group.details.values()) == [f["detail"] for f in listed if f["kind"] == "infeasible for CTC"]
