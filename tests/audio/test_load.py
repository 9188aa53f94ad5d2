import json
import math
import os
import struct

import numpy as np
import pytest
import soundfile
import soxr
import tensorflow as tf

from jasper_tf.audio import load as audio_module
from jasper_tf.audio.graph_errors import user_error_in
from jasper_tf.audio.in_graph import _tensorflow_io, is_graph_decodable, live_decoders, load_audio_in_graph
from jasper_tf.audio.load import (
    MP3_SLACK_S,
    audio_duration_s,
    load_audio,
)
from jasper_tf.errors import DataError, UserError
from jasper_tf.io.object_storage import upload

RATE = 16000
TFIO_WORKS = _tensorflow_io()[0] is not None


def noise(samples, channels=1, seed=0):
    values = np.random.default_rng(seed).normal(0, 0.1, (samples, channels)).clip(-0.9, 0.9)
    return values[:, 0] if channels == 1 else values


def in_graph(path, offset_s=0.0, duration_s=0.0, sample_rate=RATE, graph=None, channel_selector="average"):
    """One utterance through tf.data, as in training."""
    graph = is_graph_decodable(path, sample_rate) if graph is None else graph
    row = (os.fspath(path), np.float64(offset_s), np.float64(duration_s), graph)
    dataset = tf.data.Dataset.from_tensors(row).map(
        lambda path, offset, duration, graph: load_audio_in_graph(
            path, offset, duration, graph, sample_rate, channel_selector
        )
    )
    assert dataset.element_spec == tf.TensorSpec([None], tf.float32)
    (samples,) = dataset
    return samples.numpy()


def assert_loaded_as_by_soundfile_and_soxr_in_float64(manifests):
    """How many recordings of the manifests there are."""
    entries = [(path.parent, json.loads(line)) for path in manifests for line in path.open()]
    for folder, entry in entries:
        path = folder / entry["audio_filepath"]
        samples, rate = soundfile.read(path, dtype="float64", always_2d=True)
        expected = soxr.resample(samples.mean(axis=1), rate, RATE, quality="HQ")
        loaded = load_audio(path)
        assert loaded.dtype == np.float32 and loaded.shape == expected.shape
        np.testing.assert_allclose(loaded, expected, rtol=0, atol=2e-6, err_msg=str(path))
        # MP3 headers count the encoder's padding: 0.020 s at most here.
        assert math.isclose(audio_duration_s(path), len(samples) / rate, abs_tol=MP3_SLACK_S / 2)
        assert math.isclose(audio_duration_s(path), entry["duration"], abs_tol=0.05)
    return len(entries)


def test_mixed_formats(mixed_formats):
    assert assert_loaded_as_by_soundfile_and_soxr_in_float64([mixed_formats]) == 16


def test_files_of_other_peoples_encoders(shared):
    manifests = sorted((shared / "data" / "mixed_formats").glob("*.json"))
    assert assert_loaded_as_by_soundfile_and_soxr_in_float64(manifests) == 139


FORMATS = [
    # name, subtype, rates in Hz, the largest difference to what was written (None: lossy)
    ("a.wav", "PCM_U8", (8000, 16000, 44100), 1e-2),
    ("a.wav", "PCM_16", (8000, 16000, 48000), 1e-4),
    ("a.wav", "PCM_24", (11025, 16000, 48000), 1e-6),
    ("a.wav", "PCM_32", (16000, 22050), 1e-7),
    ("a.wav", "FLOAT", (16000, 32000), 1e-7),
    ("a.wav", "DOUBLE", (16000, 48000), 1e-7),
    ("a.wav", "ALAW", (8000, 16000), 3e-2),
    ("a.wav", "ULAW", (8000, 16000), 3e-2),
    ("a.flac", "PCM_16", (8000, 16000, 44100), 1e-4),
    ("a.flac", "PCM_24", (16000, 48000), 1e-6),
    ("a.ogg", "VORBIS", (8000, 16000, 44100, 48000), None),
    ("a.opus", "OPUS", (8000, 12000, 16000, 24000, 48000), None),
    ("a.mp3", "MPEG_LAYER_III", (8000, 16000, 22050, 44100, 48000), None),
]


@pytest.mark.parametrize(("name", "subtype", "rates", "tolerance"), FORMATS, ids=lambda value: str(value))
def test_every_encoding_against_soundfile_and_soxr_in_float64(tmp_path, name, subtype, rates, tolerance):
    container = "OGG" if name.endswith("opus") else None
    path = tmp_path / name
    for rate, channels in zip(rates, (2, 1, 5, 1, 2) if name != "a.mp3" else (2, 1, 2, 1, 2), strict=False):
        wave = noise(rate // 2, channels, seed=rate)
        soundfile.write(path, wave, rate, subtype=subtype, format=container)
        samples, _ = soundfile.read(path, dtype="float64", always_2d=True)
        if tolerance is not None:
            np.testing.assert_allclose(samples, wave.reshape(samples.shape), rtol=0, atol=tolerance)
        mixed = samples.mean(axis=1)
        expected = mixed if rate == RATE else soxr.resample(mixed, rate, RATE, quality="HQ")
        np.testing.assert_allclose(load_audio(path), expected, rtol=0, atol=2e-6)
        last = load_audio(path, rate, channel_selector=channels - 1)
        np.testing.assert_allclose(last, samples[:, -1], rtol=0, atol=1e-6)


def bytes_read() -> int:
    with open("/proc/self/io") as counters:
        return int(counters.readline().split()[1])


@pytest.mark.parametrize(
    ("name", "subtype", "rate"),
    [("a.wav", None, 48000), ("a.flac", None, 44100), ("a.ogg", "VORBIS", 16000), ("a.ogg", "OPUS", 48000)]
    + [("a.mp3", None, rate) for rate in (8000, 16000, 44100)],
)
def test_a_part_is_exact_to_the_sample_and_the_rest_is_not_decoded(tmp_path, monkeypatch, name, subtype, rate):
    """A quarter of a second anywhere in half a minute, loud and quiet in turns (MP3: at a variable bit rate)."""
    seconds = 30
    generator = np.random.default_rng(rate)
    level = np.repeat(10 ** (generator.uniform(-60, 0, 2 * seconds) / 20), rate // 2)
    wave = (generator.normal(0, 0.3, len(level)) * level).clip(-0.9, 0.9)
    extra = {"compression_level": 0.9, "bitrate_mode": "VARIABLE"} if name == "a.mp3" else {}
    path = tmp_path / name
    with soundfile.SoundFile(path, "w", rate, 1, subtype, **extra) as file:
        for at in range(0, len(wave), rate):  # libsndfile overflows its stack on long writes of Vorbis
            file.write(wave[at : at + rate])
    whole = load_audio(path, rate)
    for left_s in (3, 1.1, 0.5, 0.3, 0.1):
        rest = load_audio(path, rate, offset_s=seconds - left_s)
        np.testing.assert_allclose(rest, whole[round((seconds - left_s) * rate) :], rtol=0, atol=1e-6)

    decoded = []
    read = soundfile.SoundFile.read

    def counting(self, frames=-1, *args, **kwargs):
        decoded.append(frames)
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    monkeypatch.setattr(audio_module, "_BLOCK_FRAMES", 4001)
    np.testing.assert_array_equal(load_audio(path, rate), whole)
    decoded.clear()
    before = bytes_read() if os.path.exists("/proc/self/io") else None
    starts = range(rate // 3, (seconds - 5) * rate, int(2.37 * rate))
    for start in starts:
        part = load_audio(path, rate, offset_s=start / rate, duration_s=0.25)
        assert len(part) == rate // 4
        np.testing.assert_allclose(part, whole[start : start + len(part)], rtol=0, atol=1e-6)
    assert max(decoded) <= rate // 4 + (16 * 1152 if name == "a.mp3" else 0)
    if before is not None and name in ("a.wav", "a.flac"):
        assert bytes_read() - before < 0.1 * len(starts) * path.stat().st_size
    assert len(load_audio(path, RATE, offset_s=0.5, duration_s=0.25)) == 4000


def test_channels(tmp_path):
    wave = noise(4000, channels=3)
    path = tmp_path / "a.wav"
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    np.testing.assert_allclose(load_audio(path), wave.mean(axis=1), rtol=0, atol=1e-7)
    for channel in range(3):
        np.testing.assert_allclose(load_audio(path, channel_selector=channel), wave[:, channel], rtol=0, atol=1e-7)
    with pytest.raises(UserError, match=r"a\.wav: has 3 channels, no channel 3"):
        load_audio(path, channel_selector=3)
    with pytest.raises(UserError, match="channel_selector: 'left' is neither"):
        load_audio(path, channel_selector="left")


def test_resampling_keeps_a_tone_and_removes_what_would_alias(tmp_path):
    seconds = np.arange(48000) / 48000
    tones = 0.4 * np.sin(2 * np.pi * 1000 * seconds) + 0.4 * np.sin(2 * np.pi * 11000 * seconds)
    soundfile.write(tmp_path / "a.wav", tones, 48000, subtype="FLOAT")
    loaded = load_audio(tmp_path / "a.wav")
    expected = 0.4 * np.sin(2 * np.pi * 1000 * np.arange(16000) / RATE)
    np.testing.assert_allclose(loaded[1000:-1000], expected[1000:-1000], rtol=0, atol=1e-4)


def cut(path, share):
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize(("name", "share"), [("a.wav", 0.5), ("a.flac", 0.5), ("a.mp3", 0.5), ("a.wav", 0.0001)])
def test_cut_off_files(tmp_path, name, share):
    path = tmp_path / name
    soundfile.write(path, noise(64000), RATE)
    cut(path, share)
    with pytest.raises(UserError, match=r"cut off|cannot be decoded") as raised:
        load_audio(path)
    assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)


def test_the_whole_part_of_a_cut_off_wav_can_be_read(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(64000), RATE)
    before = load_audio(path, offset_s=1, duration_s=0.5)
    cut(path, 0.5)
    np.testing.assert_array_equal(load_audio(path, offset_s=1, duration_s=0.5), before)
    assert not is_graph_decodable(path, RATE)


@pytest.mark.parametrize("size", [0xFFFFFFFF, 0x7FFFFFFF])
def test_a_streamed_wav_without_its_size_is_read(tmp_path, size):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(4000), RATE)
    expected = load_audio(path)
    content = bytearray(path.read_bytes())
    content[4:8] = content[40:44] = struct.pack("<I", size)
    path.write_bytes(content)
    np.testing.assert_array_equal(load_audio(path), expected)
    np.testing.assert_array_equal(in_graph(path), expected)


def test_a_wrong_part_is_named_in_one_line(tmp_path):
    def expect(reason, path, **part):
        with pytest.raises(UserError, match=reason) as raised:
            load_audio(path, **part)
        assert str(raised.value).startswith(f"{path}: ") and "\n" not in str(raised.value)
        with pytest.raises(tf.errors.InvalidArgumentError) as wrapped:
            in_graph(path, **part)
        assert str(user_error_in(wrapped.value)) == str(raised.value)

    path = tmp_path / "a.wav"
    expect("no such file", path)
    soundfile.write(path, noise(16000), RATE)
    expect("offset 1 s is beyond its end at 1.00 s", path, offset_s=1.0)
    expect(r"ends at 1\.00 s, but 0\.5 s \+ 1\.1 s are asked for", path, offset_s=0.5, duration_s=1.1)
    expect("holds no samples", path, offset_s=0.5, duration_s=1e-6)


def test_user_error_in_other_errors():
    error = UserError("x: y")
    assert user_error_in(error) is error
    assert user_error_in(ValueError("x: y")) is None


def test_user_error_in_keeps_what_was_raised(tmp_path):
    with pytest.raises(tf.errors.OpError) as wrapped:
        in_graph(tmp_path / "gone.wav")
    found = user_error_in(wrapped.value)
    assert isinstance(found, DataError) and found.exit_status == 1
    assert (found.__cause__.path, found.__cause__.kind) == (str(tmp_path / "gone.wav"), "missing")


def test_a_rounded_duration_gives_what_there_is(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(15000), RATE)
    assert len(load_audio(path, duration_s=1.0)) == 15000
    np.testing.assert_array_equal(in_graph(path, duration_s=1.0), load_audio(path))


@pytest.mark.parametrize("part", [(0.0, 0.0), (0.3, 0.0), (0.0, 0.4), (0.12345, 0.33333), (0.9999, 0.5)])
def test_the_graph_gives_the_samples_of_soundfile(tmp_path, part):
    path = tmp_path / "a.wav"
    values = np.random.default_rng(1).integers(-32768, 32768, 16000).astype(np.int16)
    soundfile.write(path, values, RATE)
    assert is_graph_decodable(path, RATE) == TFIO_WORKS
    offset_s, duration_s = part
    expected = load_audio(path, RATE, offset_s, duration_s or None)
    np.testing.assert_array_equal(in_graph(path, *part), expected)
    np.testing.assert_array_equal(in_graph(path, *part, graph=False), expected)


@pytest.mark.parametrize("chunk", [b"LIST\x06\0\0\0INFOab", b"note\x05\0\0\0hello\0", b"no chunk"])
@pytest.mark.parametrize("position", [12, 36, None])
def test_wav_with_other_chunks(tmp_path, chunk, position):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(4000), RATE)
    expected = load_audio(path)
    content = path.read_bytes()
    changed = content + chunk if position is None else content[:position] + chunk + content[position:]
    path.write_bytes(b"RIFF" + struct.pack("<I", len(changed) - 8) + changed[8:])
    if chunk == b"no chunk" and position is not None:
        with pytest.raises(UserError):
            load_audio(path)
        return
    np.testing.assert_array_equal(load_audio(path), expected)
    np.testing.assert_array_equal(in_graph(path), expected)


def test_what_the_graph_cannot_decode(tmp_path):
    path = tmp_path / "a.wav"
    for rate, channels, subtype in [(8000, 1, "PCM_16"), (RATE, 2, "PCM_16"), (RATE, 1, "PCM_24"), (RATE, 1, "FLOAT")]:
        soundfile.write(path, noise(4000, channels), rate, subtype=subtype)
        assert not is_graph_decodable(path, RATE)
        np.testing.assert_array_equal(in_graph(path), load_audio(path))
    soundfile.write(tmp_path / "a.flac", noise(4000), RATE)
    assert not is_graph_decodable(tmp_path / "a.flac", RATE)
    assert not is_graph_decodable(tmp_path / "gone.wav", RATE)


def test_a_channel_number_in_the_graph(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(4000), RATE)
    np.testing.assert_array_equal(in_graph(path, channel_selector=0), load_audio(path))
    with pytest.raises(tf.errors.InvalidArgumentError) as wrapped:
        in_graph(path, channel_selector=1)
    assert "has 1 channel, no channel 1" in str(user_error_in(wrapped.value))


def test_live_decoders_name_every_format():
    decoders = live_decoders()
    assert {"WAV", "FLAC", "OGG", "MP3", "resampling"} < set(decoders)
    assert ("not usable" not in decoders["plain WAV, in the graph"]) == TFIO_WORKS


def test_a_recording_in_object_storage(tmp_path):
    samples = np.random.default_rng(0).uniform(-0.5, 0.5, (8000, 2))
    soundfile.write(tmp_path / "a.flac", samples, 8000)
    upload(tmp_path / "a.flac", "memory://a.flac")
    expected = load_audio(tmp_path / "a.flac", 16000, 0.25, 0.5, 1)
    np.testing.assert_array_equal(load_audio("memory://a.flac", 16000, 0.25, 0.5, 1), expected)
    with pytest.raises(UserError, match=r"memory://a\.flac: offset 2 s is beyond its end"):
        load_audio("memory://a.flac", offset_s=2.0)
    with pytest.raises(UserError, match=r"memory://gone\.flac: cannot be read .*; check the path"):
        load_audio("memory://gone.flac")


@pytest.mark.parametrize(("rate", "channels"), [(RATE, 1), (RATE, 2), (8000, 1)])
def test_memory_to_decode_into_changes_no_sample(tmp_path, rate, channels):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(6000, channels), rate)
    expected = load_audio(path, RATE, 0.1, 0.2)
    for samples in (len(expected) + 5, len(expected) - 1):  # enough, and too little
        memory = np.full(samples, 9, np.float32)
        audio = load_audio(path, RATE, 0.1, 0.2, out=memory)
        np.testing.assert_array_equal(audio, expected)
        fits = samples > len(expected) and (rate, channels) == (RATE, 1)
        assert np.shares_memory(audio, memory) == fits
