"""Reading shards: local or not, whole or damaged; one clear line for each fault."""

import os
from pathlib import Path

import numpy as np
import pytest
import soxr
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.storage.shard_check import verify_shards
from jasper_tf.data.storage.shard_index import read_index, resolve_shards
from jasper_tf.data.storage.shard_reader import load_record
from jasper_tf.data.storage.shard_record import decode_record, encode_record, frame_record, open_frame
from jasper_tf.errors import UserError
from jasper_tf.io.object_storage import remove_remote, upload, write_remote


def test_another_rate_is_resampled(shards):
    utterance = read_manifest(str(shards / "manifest.jsonl"))[0]
    expected = soxr.resample(load_record(utterance.path, *utterance.record), 16000, 8000, quality="HQ")
    np.testing.assert_array_equal(load_record(utterance.path, *utterance.record, 8000), expected)


def test_paths_of_other_file_systems(shards, fails):
    remote = f"memory://shards-{shards.name}-{os.getpid()}"
    for file in shards.iterdir():
        upload(file, f"{remote}/{file.name}")
    for path in (remote, f"{remote}/index.json", f"{remote}/manifest.jsonl"):
        assert resolve_shards(path) == f"{remote}/manifest.jsonl"
    local = read_manifest(str(shards / "manifest.jsonl"))
    for here, there in zip(local, read_manifest(f"{remote}/manifest.jsonl"), strict=True):
        assert there.path.startswith(remote)
        np.testing.assert_array_equal(load_record(there.path, *there.record), load_record(here.path, *here.record))
    assert not verify_shards(remote, 2)
    last = there.path
    with fails(f"{last}: the file is cut off at byte"):
        load_record(last, there.record[0], 1 << 50)
    write_remote(last, Path(here.path).read_bytes()[:-1])
    with fails(f"{last}: has ", "bytes, the index says"):
        resolve_shards(remote)
    remove_remote(last)
    with fails(f"{last}: no such file, but the index beside it names it"):
        resolve_shards(remote)
    with fails(f"{remote}/none.tfrecord: cannot be read"):
        load_record(f"{remote}/none.tfrecord", 0, 100)


def test_resolve_leaves_ordinary_manifests_alone(source, tmp_path, fails):
    assert resolve_shards(str(source)) == str(source)
    other = tmp_path / "manifest.jsonl"
    other.write_bytes(source.read_bytes())
    assert resolve_shards(str(other)) == str(other)
    (tmp_path / "index.json").write_text('{"format": "a web page"}')
    assert resolve_shards(str(other)) == str(other)
    assert resolve_shards("no/such/file.jsonl") == "no/such/file.jsonl"
    with fails(f"{tmp_path}: holds no index.json of shards"):
        resolve_shards(str(tmp_path))


def test_faults_of_a_folder(copied, fails):
    names = [shard.file for shard in read_index(str(copied)).shards]
    index = copied / "index.json"
    good = index.read_text()
    cut = copied / names[1]
    cut.write_bytes(cut.read_bytes()[:-3])
    with fails(
        f"{cut}: has {cut.stat().st_size} bytes, the index says {cut.stat().st_size + 3}; copy the folder again"
    ):
        resolve_shards(str(copied))
    (copied / names[0]).unlink()
    with fails(f"{copied / names[0]}: no such file, but the index beside it names it", "(and 1 more)"):
        resolve_shards(str(copied / "manifest.jsonl"))
    index.write_text(good.replace('"version": 1', '"version": 2'))
    with fails(f"{index}: is of version 2, this program reads version 1"):
        resolve_shards(str(copied))
    for broken in (
        good[: len(good) // 2],
        good.replace('"sha256"', '"sha257"'),
        good.replace(names[0], f"../{names[0]}"),
    ):
        index.write_text(broken)
        with fails(f"{index}: is broken; copy the folder again"):
            resolve_shards(str(index))


def test_faults_of_a_record(copied, fails):
    utterance = read_manifest(str(copied / "manifest.jsonl"))[1]
    path, (start, size) = utterance.path, utterance.record
    file = Path(path)
    good = file.read_bytes()
    named = f"{path}: the record at byte {start} "
    with fails(f"{path}: the record at byte {start + 1} is damaged (wrong checksum); copy the shard again"):
        load_record(path, start + 1, size)
    with fails(f"{named}has {size} bytes, {size - 1} are asked for; take the manifest.jsonl"):
        load_record(path, start, size - 1)
    file.write_bytes(good[: start + size - 1])
    with fails(f"{path}: the file is cut off at byte {start + size - 1}, its part from {start} to {start + size}"):
        load_record(path, start, size)
    file.write_bytes(good[:-100] + bytes([good[-100] ^ 4]) + good[-99:])
    assert len(load_record(path, start, size))  # another record is damaged
    faults = verify_shards(str(copied), 2)
    assert len(faults) == 2 and faults[0].startswith(f"{path}: damaged")
    assert "is damaged (wrong checksum)" in faults[1]
    file.unlink()
    with fails(f"{path}: cannot be read (no such file or directory); copy it again"):
        load_record(path, start, size)
    file.mkdir()
    with fails(f"{path}: cannot be read (not a regular file)"):
        load_record(path, start, size)


def test_faults_inside_an_intact_record(tmp_path):
    pcm = np.arange(100, dtype=np.int16)

    def example(**changes):
        good = tf.train.Example.FromString(encode_record(pcm, 16000, changes.pop("made", "pcm"), "x"))
        for key, value in changes.items():
            kind = "bytes_list" if isinstance(value, bytes) else "int64_list"
            getattr(good.features.feature[key], kind).value[:] = [] if value is None else [value]
        return good.SerializeToString()

    flac = tf.train.Example.FromString(encode_record(pcm, 16000, "flac", "x")).features.feature["audio"]
    for data, reason in (
        (b"\xff\xff not protobuf", "is no tf.train.Example"),
        (b"", "lacks the feature audio"),
        (example(samples=99), "holds 100 samples of the 99 that it states"),
        (example(samples=None), "lacks the feature samples"),
        (example(audio=b"123"), "holds 1 samples of the 100"),
        (example(codec=b"opus"), "has the unknown codec b'opus'; this version reads pcm and flac"),
        (example(sample_rate=-1), "has a sample_rate of -1"),
        (example(made="flac", audio=flac.bytes_list.value[0][:60]), "FLAC|samples"),
    ):
        file = tmp_path / "odd.tfrecord"
        file.write_bytes(frame_record(data))
        with pytest.raises(UserError, match=f"^{file}: the record at byte 0 .*({reason})") as caught:
            load_record(str(file), 0, file.stat().st_size)
        assert "\n" not in str(caught.value)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_byte_that_changed_is_noticed(shards, data):
    utterances = read_manifest(str(shards / "manifest.jsonl"))
    utterance = utterances[data.draw(st.integers(0, len(utterances) - 1))]
    start, size = utterance.record
    frame = bytearray(Path(utterance.path).read_bytes()[start : start + size])
    frame[data.draw(st.integers(0, size - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(UserError):
        open_frame(bytes(frame))


@settings(max_examples=150, deadline=None)
@given(st.binary(max_size=200), st.integers(0, 300), st.integers(0, 1 << 62))
def test_any_bytes_give_sound_or_one_line(tmp_path_factory, content, start, size):
    file = tmp_path_factory.getbasetemp() / "any.tfrecord"
    file.write_bytes(content)
    for part in (size, max(0, len(content) - start)):
        with pytest.raises(UserError) as caught:
            load_record(str(file), start, part)
        assert "\n" not in str(caught.value) and str(caught.value).startswith(str(file))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 10**9), st.sampled_from(["pcm", "flac"]))
def test_damaged_examples_with_a_right_checksum(seed, codec):
    """As if written by another program: sound or a UserError, never anything else."""
    chance = np.random.default_rng(seed)
    data = bytearray(encode_record(chance.integers(-99, 99, 500, np.int16), 16000, codec, "text"))
    for _ in range(chance.integers(1, 4)):
        data[chance.integers(len(data))] = chance.integers(256)
    data = bytes(data[: chance.integers(len(data) + 1)] if chance.random() < 0.3 else data)
    try:
        audio = decode_record(open_frame(frame_record(data)), 16000)
    except UserError as error:
        assert "\n" not in str(error)
    else:
        assert audio.dtype == np.float32 and np.isfinite(audio).all()
