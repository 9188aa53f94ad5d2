"""Shards: the same samples, the same bytes, and one clear line for each fault."""

import hashlib
import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jasper_tf.data.audio import load_audio
from jasper_tf.data.manifest import read_manifest
from jasper_tf.data.shard_index import read_index, resolve_shards, verify_shards
from jasper_tf.data.shard_plan import ShardSettings, plan_shards
from jasper_tf.data.shard_reader import load_record
from jasper_tf.data.shard_record import decode_record, encode_record, frame_record, open_frame
from jasper_tf.data.shard_writer import quantise, write_shards
from jasper_tf.errors import UserError

SMALL = {"shard_size_mb": 0.1}
"""About three shards of the fixture's 10 s."""


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    """A manifest of sound of every kind that shards change or must not change, 16 kHz 16 bit mono the most."""
    folder = tmp_path_factory.mktemp("source")
    chance = np.random.default_rng(3)
    lines = []

    def add(name, samples, rate, subtype, **more):
        soundfile.write(folder / name, samples, rate, subtype=subtype)
        duration = len(samples) / rate - more.get("offset", 0)
        lines.append({"audio_filepath": name, "duration": duration, "text": f"text of {name}", **more})

    for i in range(8):
        pcm = chance.integers(-32768, 32767, 8000 + 400 * i, np.int16, endpoint=True)
        add(f"{i}.{'flac' if i % 2 else 'wav'}", pcm, 16000, "PCM_16", speaker=i)
    add("part.wav", chance.integers(-9000, 9000, 32000, np.int16), 16000, "PCM_16", offset=0.5, duration=0.75)
    add("24.wav", chance.uniform(-0.5, 0.5, 12345), 16000, "PCM_24")
    add("stereo.wav", chance.uniform(-0.5, 0.5, (44100, 2)), 44100, "PCM_16")
    add("loud.wav", chance.uniform(-1.5, 1.5, 16000), 16000, "FLOAT", text="héllo \u2028 \U0001f600", tags=["a", None])
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder / "m.jsonl"


@pytest.fixture(scope="module", params=["pcm", "flac"])
def shards(request, source, tmp_path_factory) -> Path:
    """Finished shards of `source`, not to be changed."""
    folder = tmp_path_factory.mktemp("shards") / request.param
    write_shards(str(source), folder, ShardSettings(codec=request.param, **SMALL), workers=2, say=lambda line: None)
    return folder


@pytest.fixture
def copied(shards, tmp_path) -> Path:
    return Path(shutil.copytree(shards, tmp_path / "shards"))


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def fails(*parts: str):
    """The one line of a UserError, with all of `parts` in it, in this order."""
    return pytest.raises(UserError, match="^.*" + ".*".join(map(re.escape, parts)) + ".*$")


def test_samples_are_those_of_the_files(source, shards):
    of_files, of_shards = read_manifest(str(source)), read_manifest(resolve_shards(str(shards)))
    assert len(of_files) == len(of_shards) == 12
    for file, record in zip(of_files, of_shards, strict=True):
        expected = load_audio(file.path, 16000, file.offset_s, file.duration_s)
        audio = load_record(record.path, *record.record)
        assert audio.dtype == np.float32 and len(audio) == len(expected)
        if Path(file.path).name in ("24.wav", "stereo.wav"):
            assert 0 < np.abs(audio - expected).max() <= 0.5 / 32768
        elif Path(file.path).name == "loud.wav":
            np.testing.assert_allclose(audio, expected.clip(-1, 32767 / 32768), rtol=0, atol=0.5 / 32768)
        else:
            np.testing.assert_array_equal(audio, expected)


def test_manifest_keeps_every_key(source, shards):
    for file, record in zip(read_manifest(str(source)), read_manifest(str(shards / "manifest.jsonl")), strict=True):
        assert (record.duration_s, record.text, record.offset_s) == (file.duration_s, file.text, 0)
        assert Path(record.path).parent == shards
        added = {"source_audio_filepath": Path(file.path).name}
        if file.offset_s:
            added["source_audio_offset"] = file.offset_s
        assert record.extra == {**file.extra, **added}


def test_index_counts_what_is_there(source, shards):
    index = read_index(str(shards))
    assert index.utterances == sum(shard.utterances for shard in index.shards) == 12
    loud, _ = soundfile.read(source.parent / "loud.wav", dtype="float64")
    assert (index.skipped, index.rounded) == (0, 3)
    assert index.clipped_samples == np.sum((np.rint(loud * 32768) > 32767) | (np.rint(loud * 32768) < -32768)) > 0
    total = sum(len(load_record(u.path, *u.record)) for u in read_manifest(str(shards / "manifest.jsonl")))
    assert index.hours == pytest.approx(total / 16000 / 3600, rel=1e-12)
    assert len(index.shards) > 1
    for shard in index.shards:
        data = (shards / shard.file).read_bytes()
        assert (len(data), hashlib.sha256(data).hexdigest()) == (shard.bytes, shard.sha256)
        assert shard.file.endswith(f"-of-{len(index.shards):05d}.tfrecord")


def test_tensorflow_reads_them(shards):
    files = sorted(str(file) for file in shards.glob("*.tfrecord"))
    utterances = read_manifest(str(shards / "manifest.jsonl"))
    for data, utterance in zip(tf.data.TFRecordDataset(files).as_numpy_iterator(), utterances, strict=True):
        np.testing.assert_array_equal(decode_record(data, 16000), load_record(utterance.path, *utterance.record))
        feature = tf.train.Example.FromString(data).features.feature
        assert feature["text"].bytes_list.value[0].decode() == utterance.text


def test_bytes_do_not_depend_on_workers(source, shards, tmp_path):
    codec = read_index(str(shards)).settings["codec"]
    write_shards(str(source), tmp_path / "one", ShardSettings(codec=codec, **SMALL), workers=1, say=lambda line: None)
    assert content(tmp_path / "one") == content(shards)


@pytest.mark.parametrize("at", [0, 3, 7, 11])
def test_an_interrupted_run_goes_on(source, shards, tmp_path, at):
    codec = read_index(str(shards)).settings["codec"]
    chosen, folder, said = ShardSettings(codec=codec, **SMALL), tmp_path / "out", []

    def stop(done, total):
        if done > at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(str(source), folder, chosen, workers=2, progress=stop)
    with fails(f"{folder}: holds no index.json", "run the same command again"):
        resolve_shards(str(folder))
    finished = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.tfrecord")}
    (folder / ".shard-00000.1.writing").write_bytes(b"left by a process that was killed")
    write_shards(str(source), folder, chosen, workers=2, say=said.append)
    assert content(folder) == content(shards)
    assert len([line for line in said if "kept" in line]) == len(finished)
    for name, changed in finished.items():
        assert (folder / name).stat().st_mtime_ns == changed
    write_shards(str(source), folder, chosen, say=said.append)
    assert said[-1] == f"{folder}: is complete already"


def test_a_finished_shard_that_was_damaged_is_written_again(source, tmp_path):
    folder = tmp_path / "out"

    def stop(done, total):
        if done == total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(str(source), folder, ShardSettings(**SMALL), progress=stop)
    first = min(folder.glob("*.tfrecord"))
    good = first.read_bytes()
    first.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    write_shards(str(source), folder, ShardSettings(**SMALL), say=lambda line: None)
    assert first.read_bytes() == good and not verify_shards(str(folder), 2, lambda done, total: None)


def test_nothing_is_overwritten(source, copied, tmp_path):
    with fails(f"--output {copied}", "another codec", "name a new folder"):
        other = "flac" if read_index(str(copied)).settings["codec"] == "pcm" else "pcm"
        write_shards(str(source), copied, ShardSettings(codec=other, **SMALL))
    fewer = source.with_name("fewer.jsonl")
    fewer.write_text(source.read_text().split("\n", 1)[1])
    with fails("another manifest"):
        write_shards(str(fewer), copied, ShardSettings(codec=read_index(str(copied)).settings["codec"], **SMALL))
    (tmp_path / "theirs").mkdir()
    (tmp_path / "theirs" / "thesis.tex").write_text("years")
    with fails(f"--output {tmp_path / 'theirs'}", "holds something else (thesis.tex)"):
        write_shards(str(source), tmp_path / "theirs", ShardSettings())
    (tmp_path / "file").write_text("")
    with fails(f"--output {tmp_path / 'file'}"):
        write_shards(str(source), tmp_path / "file", ShardSettings())


def test_bad_audio(source, tmp_path):
    manifest, said = source.with_name("bad.jsonl"), []
    (source.parent / "bad.wav").write_bytes(b"RIFF, but no more")
    bad = json.dumps({"audio_filepath": "bad.wav", "duration": 1.0, "text": "x"})
    lines = source.read_text().splitlines()
    manifest.write_text("\n".join([*lines[:4], bad, *lines[4:]]) + "\n")
    line = f"{manifest}:5: {source.parent / 'bad.wav'}: cannot be decoded"
    with fails(line, "--on-bad-audio skip"):
        write_shards(str(manifest), tmp_path / "a", ShardSettings(**SMALL), say=said.append)
    with fails("--max-bad-audio", line):
        write_shards(str(manifest), tmp_path / "b", ShardSettings(**SMALL), on_bad_audio="skip", say=said.append)
    # Goes on where "error" stopped.
    index = write_shards(
        str(manifest),
        tmp_path / "a",
        ShardSettings(**SMALL),
        on_bad_audio="skip",
        max_bad_audio=0.1,
        say=said.append,
        workers=2,
    )
    assert (index.skipped, index.utterances) == (1, 12) and said[-1].startswith(f"left out {line}")
    texts = [u.text for u in read_manifest(resolve_shards(str(tmp_path / "a")))]
    assert texts == [u.text for u in read_manifest(str(source))]


def test_settings_that_are_wrong():
    for wrong, word in (
        ({"codec": "mp3"}, "codec"),
        ({"shard_size_mb": 0}, "shard size"),
        ({"channel_selector": "left"}, "channel selector"),
        ({"sample_rate": 0}, "sample rate"),
    ):
        with fails(word):
            ShardSettings(**wrong)


@given(st.lists(st.floats(0.01, 3000), min_size=1, max_size=60), st.floats(0.001, 100))
def test_every_utterance_is_in_one_shard(durations, size):
    names, first = plan_shards(np.array(durations), ShardSettings(shard_size_mb=size))
    assert first[0] == 0 and first[-1] == len(durations) and (np.diff(first) > 0).all() and len(names) == len(first) - 1
    for begin, end in zip(first[:-1], first[1:], strict=True):
        # No shard is larger than asked for by more than one utterance.
        assert sum(durations[begin : end - 1]) * 32000 <= size * 1e6 + 1


def test_quantise_is_exact_for_16_bit_and_rounds_the_rest():
    every = np.arange(-32768, 32768, dtype=np.int16)
    pcm, changed, clipped = quantise(every.astype(np.float32) / 32768)
    np.testing.assert_array_equal(pcm, every)
    assert (changed, clipped) == (False, 0)
    audio = np.random.default_rng(0).uniform(-1.2, 1.2, 5000).astype(np.float32)
    pcm, changed, clipped = quantise(audio)
    twin = np.rint(audio.astype(np.float64) * 32768)
    np.testing.assert_array_equal(pcm, twin.clip(-32768, 32767))
    assert changed and clipped == np.sum((twin > 32767) | (twin < -32768))


def test_another_rate_is_resampled(shards):
    utterance = read_manifest(str(shards / "manifest.jsonl"))[0]
    expected = soxr.resample(load_record(utterance.path, *utterance.record), 16000, 8000, quality="HQ")
    np.testing.assert_array_equal(load_record(utterance.path, *utterance.record, 8000), expected)


def test_paths_of_other_file_systems(shards):
    remote = f"ram://shards-{shards.name}-{os.getpid()}"
    for file in shards.iterdir():
        tf.io.gfile.copy(str(file), f"{remote}/{file.name}", overwrite=True)
    for path in (remote, f"{remote}/index.json", f"{remote}/manifest.jsonl"):
        assert resolve_shards(path) == f"{remote}/manifest.jsonl"
    local = read_manifest(str(shards / "manifest.jsonl"))
    for here, there in zip(local, read_manifest(f"{remote}/manifest.jsonl"), strict=True):
        assert there.path.startswith(remote)
        np.testing.assert_array_equal(load_record(there.path, *there.record), load_record(here.path, *here.record))
    assert not verify_shards(remote, 2, lambda done, total: None)
    last = there.path
    with fails(f"{last}: the file is cut off at byte"):
        load_record(last, there.record[0], 1 << 50)
    with tf.io.gfile.GFile(last, "wb") as file:
        file.write(Path(here.path).read_bytes()[:-1])
    with fails(f"{last}: has ", "bytes, the index says"):
        resolve_shards(remote)
    tf.io.gfile.remove(last)
    with fails(f"{last}: no such file, but the index beside it names it"):
        resolve_shards(remote)
    with fails(f"{remote}/none.tfrecord: cannot be read"):
        load_record(f"{remote}/none.tfrecord", 0, 100)


def test_resolve_leaves_ordinary_manifests_alone(source, tmp_path):
    assert resolve_shards(str(source)) == str(source)
    other = tmp_path / "manifest.jsonl"
    other.write_bytes(source.read_bytes())
    assert resolve_shards(str(other)) == str(other)
    (tmp_path / "index.json").write_text('{"format": "a web page"}')
    assert resolve_shards(str(other)) == str(other)
    assert resolve_shards("no/such/file.jsonl") == "no/such/file.jsonl"
    with fails(f"{tmp_path}: holds no index.json of shards"):
        resolve_shards(str(tmp_path))


def test_faults_of_a_folder(copied):
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


def test_faults_of_a_record(copied):
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
    faults = verify_shards(str(copied), 2, lambda done, total: None)
    assert len(faults) == 2 and faults[0].startswith(f"{path}: its checksum is not the index's")
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


def test_two_runs_do_not_write_to_one_folder(source, tmp_path):
    other = []

    def second(done, total):
        if not other:
            with fails("another run is writing there"):
                write_shards(str(source), tmp_path / "out", ShardSettings(**SMALL), say=lambda line: None)
            other.append(done)

    write_shards(str(source), tmp_path / "out", ShardSettings(**SMALL), progress=second, say=lambda line: None)
    assert other
