"""python -m jasper_tf shard, as typed."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import main
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.storage.shard_reader import load_record

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def manifest(tmp_path) -> Path:
    lines = []
    for i in range(6):
        pcm = np.random.default_rng(i).integers(-9000, 9000, (8000, 2), np.int16)
        soundfile.write(tmp_path / f"{i}.wav", pcm, 16000)
        lines.append(json.dumps({"audio_filepath": f"{i}.wav", "duration": 0.5, "text": "a"}))
    (tmp_path / "m.jsonl").write_text("\n".join(lines))
    return tmp_path / "m.jsonl"


@pytest.mark.medium
def test_shard_and_verify(manifest, capsys, tmp_path, without_tensorflow_log):
    output = tmp_path / "shards"
    arguments = ["--output", str(output), "--codec", "flac", "--channel-selector", "1", "--shard-size", "0.02"]
    command = [sys.executable, "-m", "jasper_tf", "shard", "--manifest", str(manifest), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert (done.returncode, without_tensorflow_log(done.stderr)) == (0, "")
    first, second, last = done.stdout.splitlines()
    shards = sorted(file.name for file in output.glob("*.tfrecord"))
    assert first.startswith(f"6 utterances, 0.00 h, in {len(shards)} shards, 0.1 MB") and len(shards) > 1
    assert second.startswith("0 rounded to 16 bit") and "0 samples clipped" in second
    assert last == f"next: model.train_ds.manifest_filepath={output}"
    assert sorted(os.listdir(output)) == ["index.json", "manifest.jsonl", *shards]
    for i, utterance in enumerate(read_manifest(str(output / "manifest.jsonl"))):
        expected = soundfile.read(tmp_path / f"{i}.wav", dtype="float32")[0][:, 1]
        np.testing.assert_array_equal(load_record(utterance.path, *utterance.record), expected)

    assert main(["shard", "--output", str(output), "--verify"]) == 0
    assert f"{output}: intact, 6 utterances in {len(shards)} shards" in capsys.readouterr().out
    damaged = output / shards[-1]
    damaged.write_bytes(damaged.read_bytes()[:-1] + b"?")
    assert main(["shard", "--output", str(output), "--verify"]) == 1
    out, err = capsys.readouterr()
    assert f"{damaged}: damaged" in out and f"{output}: damaged, 2 faults" in out and err == ""
    damaged.unlink()
    assert main(["shard", "--output", str(output), "--verify"]) == 1
    assert f"{damaged}: no such file" in capsys.readouterr().out


def test_wrong_use(manifest, tmp_path, capsys):
    output = str(tmp_path / "shards")
    whole = ["--manifest", str(manifest), "--output", output]
    for arguments, line in (
        (["--output", output], "--manifest is missing: name the manifest"),
        ([*whole, "--verify"], "leave --manifest out"),
        ([*whole, "--codec", "mp3"], "codec 'mp3': is none of pcm, flac"),
        ([*whole, "--shard-size", "-1"], "shard size -1: must be"),
        ([*whole, "--workers", "0"], "--workers 0: give 1 or more"),
        ([*whole, "--channel-selector", "left"], "channel selector 'left': is neither"),
        (
            [*whole, "--channel-selector", "2"],
            "m.jsonl:1: " + str(tmp_path / "0.wav") + ": has 2 channels, no channel 2",
        ),
        (["--manifest", "no.jsonl", "--output", output], "no.jsonl: no such file"),
        (["--output", str(tmp_path), "--verify"], f"{tmp_path}: no finished shards"),
    ):
        assert main(["shard", *arguments]) == 2
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and line in err, err


def test_recordings_that_cannot_be_read(manifest, tmp_path, capsys):
    """1, not wrong use; with skip they are named and counted."""
    (tmp_path / "1.wav").write_text("no audio")
    (tmp_path / "4.wav").unlink()
    whole = ["shard", "--manifest", str(manifest), "--output", str(tmp_path / "shards"), "--workers", "1"]
    for options, name in (([], "1.wav"), (["--on-bad-audio", "skip"], "1.wav")):
        assert main([*whole, *options]) == 1
        out, err = capsys.readouterr()
        [error] = [line for line in err.splitlines() if line.startswith("error: ")]
        assert out == "" and name in error
    assert main([*whole, "--on-bad-audio", "skip", "--max-bad-audio", "0.5"]) == 0
    out, _ = capsys.readouterr()
    assert out.startswith("4 utterances") and "2 recordings left out" in out
