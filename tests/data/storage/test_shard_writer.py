"""Writing shards: the same samples, the same bytes, nothing lost."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from jasper_tf.audio.load import load_audio
from jasper_tf.data.jobs.runner import Runner
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.storage.shard_check import verify_shards
from jasper_tf.data.storage.shard_index import read_index, resolve_shards
from jasper_tf.data.storage.shard_plan import ShardSettings, plan_shards
from jasper_tf.data.storage.shard_reader import load_record
from jasper_tf.data.storage.shard_record import decode_record
from jasper_tf.data.storage.shard_writer import quantize, write_shards

SMALL = {"shard_size_mb": 0.1}
"""About three shards of the fixture's 10 s."""


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


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
    write_shards(str(source), tmp_path / "one", ShardSettings(codec=codec, **SMALL), workers=1)
    assert content(tmp_path / "one") == content(shards)


@pytest.mark.parametrize("at", [0, 3, 7, 11])
def test_an_interrupted_run_goes_on(source, shards, tmp_path, at, fails, caplog):
    codec = read_index(str(shards)).settings["codec"]
    chosen, folder = ShardSettings(codec=codec, **SMALL), tmp_path / "out"
    caplog.set_level("INFO", "jasper_tf")

    def stop(done, total):
        if done > at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(str(source), folder, chosen, workers=2, progress=stop)
    with fails(f"{folder}: holds no index.json", "run the `shard` that was interrupted again"):
        resolve_shards(str(folder))
    finished = {file.name: file.stat().st_mtime_ns for file in folder.glob("*.tfrecord")}
    (folder / ".writing-0-shard-00000.tfrecord").write_bytes(b"left by a process that was killed")
    write_shards(str(source), folder, chosen, workers=2)
    assert content(folder) == content(shards)
    assert len([line for line in caplog.messages if "kept" in line]) == len(finished)
    for name, changed in finished.items():
        assert (folder / name).stat().st_mtime_ns == changed
    write_shards(str(source), folder, chosen)
    assert caplog.messages[-1] == f"{folder}: is complete already"


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
    write_shards(str(source), folder, ShardSettings(**SMALL))
    assert first.read_bytes() == good and not verify_shards(str(folder), 2)


def test_nothing_is_overwritten(source, copied, tmp_path, fails):
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


def test_bad_audio(source, tmp_path, fails, caplog):
    manifest = source.with_name("bad.jsonl")
    (source.parent / "bad.wav").write_bytes(b"RIFF, but no more")
    bad = json.dumps({"audio_filepath": "bad.wav", "duration": 1.0, "text": "x"})
    lines = source.read_text().splitlines()
    manifest.write_text("\n".join([*lines[:4], bad, *lines[4:]]) + "\n")
    line = f"{manifest}:5: {source.parent / 'bad.wav'}: cannot be decoded"
    with fails(line, "--on-bad-audio skip"):
        write_shards(str(manifest), tmp_path / "a", ShardSettings(**SMALL))
    with fails("--max-bad-audio", line):
        write_shards(str(manifest), tmp_path / "b", ShardSettings(**SMALL), on_bad_audio="skip")
    # Goes on where "error" stopped.
    index = write_shards(
        str(manifest),
        tmp_path / "a",
        ShardSettings(**SMALL),
        on_bad_audio="skip",
        max_bad_audio=0.1,
        workers=2,
    )
    assert (index.skipped, index.utterances) == (1, 12) and caplog.messages[-1].startswith(f"left out {line}")
    texts = [u.text for u in read_manifest(resolve_shards(str(tmp_path / "a")))]
    assert texts == [u.text for u in read_manifest(str(source))]


class InThisProcess(Runner):
    """Computes every part, whatever the caller thinks of the first ones."""

    def map(self, function, items, stop):
        for item in items:
            function(item)


def test_too_many_bad_recordings_stay_too_many(source, tmp_path, fails):
    (source.parent / "bad.wav").write_bytes(b"RIFF, but no more")
    bad = json.dumps({"audio_filepath": "bad.wav", "duration": 1.0, "text": "x"})
    manifest = source.with_name("bad_in_each_shard.jsonl")
    lines = source.read_text().splitlines()
    manifest.write_text("\n".join([bad, *lines[:6], bad, *lines[6:], bad]) + "\n")
    skip = {"on_bad_audio": "skip", "max_bad_audio": 0.1}
    for _ in range(2):  # what the workers finished is kept, and so is its number of bad recordings
        with fails("--max-bad-audio", f"{manifest}:"):
            write_shards(
                str(manifest), tmp_path / "a", ShardSettings(**SMALL), runner=InThisProcess(engine="direct"), **skip
            )
    with fails("--max-bad-audio", f"{manifest}:"):
        write_shards(str(manifest), tmp_path / "a", ShardSettings(**SMALL), **skip)


def test_what_skip_left_out_is_an_error_again_without_it(source, tmp_path, fails):
    manifest = source.with_name("bad_first.jsonl")
    (source.parent / "bad.wav").write_bytes(b"RIFF, but no more")
    bad = json.dumps({"audio_filepath": "bad.wav", "duration": 1.0, "text": "x"})
    manifest.write_text(f"{bad}\n{source.read_text()}")

    def stop(done, total):
        if done == total:
            raise KeyboardInterrupt

    skip = {"on_bad_audio": "skip", "max_bad_audio": 0.1}
    with pytest.raises(KeyboardInterrupt):
        write_shards(str(manifest), tmp_path / "a", ShardSettings(**SMALL), progress=stop, **skip)
    assert len(list((tmp_path / "a").glob("*.tfrecord"))) > 1
    with fails(f"{manifest}:1: {source.parent / 'bad.wav'}"):
        write_shards(str(manifest), tmp_path / "a", ShardSettings(**SMALL))


def test_shards_of_shards(shards, tmp_path):
    index = write_shards(str(shards), tmp_path / "again", ShardSettings(codec="flac"))
    assert (index.utterances, index.rounded, len(index.shards)) == (12, 0, 1)
    for one, other in zip(read_manifest(str(shards)), read_manifest(str(tmp_path / "again")), strict=True):
        assert (one.text, one.duration_s, one.extra) == (other.text, other.duration_s, other.extra)
        np.testing.assert_array_equal(load_record(one.path, *one.record), load_record(other.path, *other.record))


def test_settings_that_are_wrong(fails):
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


def test_quantize_is_exact_for_16_bit_and_rounds_the_rest():
    every = np.arange(-32768, 32768, dtype=np.int16)
    pcm, changed, clipped = quantize(every.astype(np.float32) / 32768)
    np.testing.assert_array_equal(pcm, every)
    assert (changed, clipped) == (False, 0)
    audio = np.random.default_rng(0).uniform(-1.2, 1.2, 5000).astype(np.float32)
    pcm, changed, clipped = quantize(audio)
    twin = np.rint(audio.astype(np.float64) * 32768)
    np.testing.assert_array_equal(pcm, twin.clip(-32768, 32767))
    assert changed and clipped == np.sum((twin > 32767) | (twin < -32768))


def test_two_runs_do_not_write_to_one_folder(source, tmp_path, fails):
    other = []

    def second(done, total):
        if not other:
            with fails("another run is writing there"):
                write_shards(str(source), tmp_path / "out", ShardSettings(**SMALL))
            other.append(done)

    write_shards(str(source), tmp_path / "out", ShardSettings(**SMALL), progress=second)
    assert other
