"""A run begun by version 0.1.0 resumes and gives what 0.1.0 would have given; so does its model file."""

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import jasper_tf

pytestmark = pytest.mark.medium

ROOT = Path(__file__).parents[2]
BEGUN = Path(__file__).parents[1] / "golden" / "begun_run"
# Rates of this machine; the rest are numbers of the training.
TIMED = ("utterances_per_s", "steps_per_s", "model_flop_per_s", "mfu")
# Columns that have another name since.
RENAMED = {"padding_share": "padding_ratio"}


def write_recordings(folder: Path) -> None:
    """The recordings of noise that the run was begun with."""
    draws = np.random.RandomState(7)
    for split, count in (("train", 8), ("dev", 4)):
        lines = []
        for i in range(count):
            text = "".join(draws.choice(list("ab "), 4))
            samples = draws.randint(-8000, 8000, 16000 + 1000 * i).astype(np.int16)
            soundfile.write(folder / f"{split}{i}.wav", samples, 16000)
            lines.append({"audio_filepath": f"{split}{i}.wav", "duration": len(samples) / 16000, "text": text})
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_it_resumes_and_ends_as_it_would_have(tmp_path):
    write_recordings(tmp_path)
    shutil.copy(BEGUN / "begun.yaml", tmp_path)
    shutil.copytree(BEGUN / "begun", tmp_path / "runs" / "begun")
    done = subprocess.run(
        [sys.executable, str(ROOT / "train.py"), "begun.yaml"], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    expected, found = (
        list(csv.DictReader(file.read_text().splitlines()))
        for file in (BEGUN / "metrics_to_the_end.csv", tmp_path / "runs" / "begun" / "metrics.csv")
    )
    assert len(found) == len(expected)
    for old, new in zip(expected, found, strict=True):
        for key in old.keys() - set(TIMED):
            value = new[RENAMED.get(key, key)]
            assert bool(value) == bool(old[key]), key
            if value:
                assert float(value) == pytest.approx(float(old[key]), rel=1e-3, abs=1e-6), (key, new["step"])


def test_its_model_file_gives_the_same_numbers():
    model = jasper_tf.load_model(BEGUN / "begun")
    audio = np.random.RandomState(3).normal(0, 0.1, (1, 1600)).astype(np.float32)
    logits = model({"audio": audio, "audio_len": np.array([1600], np.int32)})["logits"]
    np.testing.assert_allclose(logits, np.load(BEGUN / "logits.npy"), atol=1e-4)
