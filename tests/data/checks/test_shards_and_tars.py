"""Recordings inside containers: shards and NeMo's tar files are checked alike."""

import json
import tarfile

import numpy as np
import pytest
import soundfile
import yaml

from jasper_tf.__main__ import main
from jasper_tf.data.storage.shard_plan import ShardSettings
from jasper_tf.data.storage.shard_writer import write_shards


@pytest.fixture
def files(tmp_path):
    """Six utterances, the second silent, the fifth at full scale."""
    rng = np.random.default_rng(0)
    lines = []
    for i in range(6):
        audio = 0.1 * rng.uniform(-1, 1, 8000 + 100 * i)
        audio = {1: 0 * audio, 4: np.sign(np.sin(np.arange(len(audio)) / 50))}.get(i, audio)
        soundfile.write(tmp_path / f"{i}.wav", audio, 16000)
        lines.append({"audio_filepath": f"{i}.wav", "duration": len(audio) / 16000, "text": f"text {'abcdef'[i]}"})
    (tmp_path / "files.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return tmp_path, lines


def found(capsys, folder, *arguments):
    """Kinds by line."""
    (folder / "faults.jsonl").unlink(missing_ok=True)
    status = main(["check", *map(str, arguments), "--audio", "--list", str(folder / "faults.jsonl")])
    captured = capsys.readouterr()
    assert status == 1, captured
    return {f["line"]: f["kind"] for f in map(json.loads, (folder / "faults.jsonl").read_text().splitlines())}


def test_shards_show_what_their_files_show(files, capsys):
    folder, _ = files
    write_shards(str(folder / "files.json"), folder / "shards", ShardSettings(), workers=1)
    expected = {2: "silent", 5: "clipped"}
    assert found(capsys, folder, "--manifest", folder / "files.json") == expected
    assert found(capsys, folder, "--manifest", folder / "shards") == expected

    (shard,) = (folder / "shards").glob("*.tfrecord")
    content = bytearray(shard.read_bytes())
    content[len(content) - 1000] ^= 1
    shard.write_bytes(content)
    assert found(capsys, folder, "--manifest", folder / "shards") == {**expected, 6: "unreadable"}


def test_tar_files_of_a_configuration(files, tiny_config, capsys):
    folder, lines = files
    for shard in range(2):
        with tarfile.open(folder / f"audio_{shard}.tar", "w") as tar:
            for line in lines[shard::2]:
                tar.add(folder / line["audio_filepath"], arcname=line["audio_filepath"])
    rows = [{**line, "shard_id": n % 2} for n, line in enumerate(lines)]
    rows.insert(3, {**rows[3], "audio_filepath": "gone.wav"})
    rows.append({**rows[0], "text": "", "duration": 0.4})
    (folder / "tarred.json").write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = tiny_config().to_dict()
    values["model"]["train_ds"] |= {
        "manifest_filepath": str(folder / "tarred.json"),
        "is_tarred": True,
        "tarred_audio_filepaths": f"{folder}/audio__OP_0..1_CL_.tar",
    }
    (folder / "c.yaml").write_text(yaml.safe_dump(values))
    expected = {2: "silent", 4: "missing", 6: "clipped", 8: "empty text"}
    clean = folder / "sub"
    clean.mkdir()
    assert found(capsys, folder, "--config", folder / "c.yaml", "--write-clean", clean / "clean.json") == expected
    original = (folder / "tarred.json").read_bytes().splitlines(keepends=True)
    assert (clean / "clean.json").read_bytes() == b"".join(original[i] for i in (0, 2, 4, 6))
