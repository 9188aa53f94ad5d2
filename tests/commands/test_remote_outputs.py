"""URLs of object storage as outputs: written there or refused, and never a local folder named s3:."""

import argparse
import importlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import find_verbs, main
from jasper_tf.data.batches.batch_reader import BatchReader
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.storage.shard_index import resolve_shards
from jasper_tf.io.object_storage import list_remote, read_remote


def actions(parser: argparse.ArgumentParser):
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for inner in action.choices.values():
                yield from actions(inner)
        else:
            yield action


@pytest.mark.parametrize("verb", sorted(find_verbs()))
def test_no_argument_is_a_plain_path(verb):
    """`Path` makes s3:/bucket of s3://bucket: a folder on this machine."""
    parser = argparse.ArgumentParser()
    importlib.import_module(f"jasper_tf.commands.{verb.replace('-', '_')}").add_arguments(parser)
    assert not [action.dest for action in actions(parser) if action.type is Path]


@pytest.mark.parametrize(
    "arguments",
    [
        ["tokenizer", "train", "--text", "t.txt", "--output", "s3://bucket/a"],
        ["import-nemo", "m.nemo", "--output", "s3://bucket/a"],
        ["make-demo-corpus", "--output", "s3://bucket/a"],
        ["prepare", "folder", "--source", ".", "--output", "s3://bucket/a"],
        ["average-checkpoints", "run", "--output", "s3://bucket/a.keras"],
        ["average-checkpoints", "s3://bucket/run", "--output", "a.keras"],
        ["check", "--manifest", "m.json", "--work-dir", "s3://bucket/a"],
        ["shard", "--manifest", "m.json", "--output", "s3://bucket/a", "--runner", "spark"],
        ["tune", "tune.yaml", "tune.output=s3://bucket/a"],
    ],
    ids=lambda arguments: " ".join(arguments[:2]),
)
def test_what_is_not_written_there_is_refused(arguments, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    try:
        status = main(arguments)
    except SystemExit as stop:
        status = stop.code
    output = capsys.readouterr()
    last = output.err.splitlines()[-1]
    assert status == 2 and output.out.count("\n") <= 1, output
    assert "object storage" in last or "that every worker sees" in last
    assert not list(tmp_path.iterdir())


def test_shards_are_written_there(s3, tmp_path, monkeypatch, capsys):
    """The bytes of local ones; a run that was stopped goes on and writes only what is missing."""
    monkeypatch.chdir(tmp_path)
    lines = []
    for i in range(5):
        soundfile.write(f"{i}.wav", np.random.default_rng(i).integers(-9000, 9000, 8000, np.int16), 16000)
        lines.append(json.dumps({"audio_filepath": f"{i}.wav", "duration": 0.5, "text": "a"}) + "\n")
    Path("m.json").write_text("".join(lines))
    arguments = ["shard", "--manifest", "m.json", "--shard-size", "0.01", "--workers", "1", "--output"]
    assert main([*arguments, "here"]) == 0
    local = {name: Path("here", name).read_bytes() for name in os.listdir("here")}
    assert len(local) == 7

    os.rename("3.wav", "away.wav")
    assert main([*arguments, f"{s3}/shards", "--on-bad-audio", "error"]) == 1
    os.rename("away.wav", "3.wav")
    capsys.readouterr()
    assert main([*arguments, f"{s3}/shards"]) == 0
    assert {name: read_remote(f"{s3}/shards/{name}") for name in list_remote(f"{s3}/shards")} == local
    assert capsys.readouterr().err.count("kept, was finished before") == 3
    assert main([*arguments, f"{s3}/shards", "--sample-rate", "8000"]) == 2
    assert "holds shards made with another sample_rate" in capsys.readouterr().err
    assert main(["shard", "--verify", "--output", f"{s3}/shards"]) == 0
    assert not Path("s3:").exists()

    reader = BatchReader(16000, "average")
    batches = [
        reader.read_batch(list(read_manifest(resolve_shards(folder))), np.full(5, 8000), 8000)
        for folder in (f"{s3}/shards", "here")
    ]
    np.testing.assert_array_equal(batches[0][0], batches[1][0])
    assert batches[0][1].tolist() == [8000] * 5 and not batches[0][2]
