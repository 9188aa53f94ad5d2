"""What a user sees when a recording is not what it should be: one line, from `load_audio` and through tf.data."""

import math
import os
import pickle
import resource
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from jasper_tf.audio import load
from jasper_tf.audio.graph_errors import user_error_in
from jasper_tf.audio.in_graph import is_graph_decodable, load_audio_in_graph
from jasper_tf.audio.load import (
    MAX_PART_S,
    audio_duration_s,
    load_audio,
)
from jasper_tf.errors import AudioError, UserError
from tests.audio.encode_media import encode_media

RATE = 16000


def noise(samples, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, samples).clip(-0.9, 0.9)


def lines_of(path, offset_s=0.0, duration_s=None, looked_at=False):
    """The error line of load_audio, which must be that of tf.data too."""
    with pytest.raises(UserError) as raised:
        load_audio(path, RATE, offset_s, duration_s)
    row = (os.fspath(path), np.float64(offset_s), np.float64(duration_s or 0), looked_at)
    dataset = tf.data.Dataset.from_tensors(row).map(lambda *row: load_audio_in_graph(*row, RATE))
    with pytest.raises(tf.errors.OpError) as wrapped:
        list(dataset)
    assert str(user_error_in(wrapped.value)) == str(raised.value)
    return str(raised.value)


@pytest.fixture
def recording(tmp_path):
    """A plain WAV of one second that tf.data was told about while it was well."""
    path = tmp_path / "a.wav"
    soundfile.write(path, noise(RATE), RATE)
    return path, is_graph_decodable(path, RATE)


def test_a_file_that_disappears(recording):
    path, looked_at = recording
    path.unlink()
    assert lines_of(path) == f"{path}: no such file"
    if looked_at:
        row = (os.fspath(path), np.float64(0), np.float64(0), True)
        with pytest.raises(tf.errors.NotFoundError, match=str(path)):
            list(tf.data.Dataset.from_tensors(row).map(lambda *row: load_audio_in_graph(*row, RATE)))
    assert lines_of(path / "deeper.wav") == f"{path / 'deeper.wav'}: no such file"


def test_a_directory_in_its_place(recording):
    path, _ = recording
    path.unlink()
    path.mkdir()
    assert lines_of(path) == f"{path}: is a directory, not a file"


def test_a_pipe_in_its_place(tmp_path):
    os.mkfifo(tmp_path / "a.wav")
    with pytest.raises(AudioError, match=r"a\.wav: is not a regular file") as raised:
        load_audio(tmp_path / "a.wav")
    assert raised.value.kind == "unreadable"


def test_links_that_lead_nowhere(tmp_path):
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    (tmp_path / "gone.wav").symlink_to(tmp_path / "nothing")
    for name, kind in (("loop.wav", "unreadable"), ("gone.wav", "missing")):
        with pytest.raises(AudioError) as raised:
            load_audio(tmp_path / name)
        assert raised.value.kind == kind and "link" in raised.value.detail


def test_an_error_is_one_line_and_can_be_sent_to_another_process():
    error = AudioError("/a\nb.wav", "cut", "first\r\x1b[31mline\u2028second")
    assert str(error).isprintable()
    sent = pickle.loads(pickle.dumps(error))
    assert (sent.path, sent.kind, sent.detail, str(sent)) == (error.path, error.kind, error.detail, str(error))


@pytest.mark.parametrize("rate", [1, 999, 384_001, 999_983])
def test_rates_that_no_recording_has(tmp_path, rate):
    soundfile.write(tmp_path / "a.wav", noise(2000), rate)
    with pytest.raises(AudioError, match=f"{rate} Hz") as raised:
        load_audio(tmp_path / "a.wav")
    assert raised.value.kind == "rate"


@pytest.mark.parametrize("name", ["ram://gone.wav", "nothing://a.wav"])
def test_a_remote_file_that_is_not_there(name):
    with pytest.raises(AudioError, match=r"cannot be read \(.+\)") as raised:
        load_audio(name)
    assert raised.value.path == name and raised.value.kind in ("missing", "unreadable")
    assert str(raised.value).isprintable() and len(str(raised.value)) < 300


def test_permission_denied(recording):
    path, _ = recording
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        try:
            os.seteuid(65534)
        except OSError:
            pytest.skip("root that may not become another user: nothing is denied to it")
    try:
        # Whether the folders above let that user in or not, it is the permission that is denied.
        assert lines_of(path) == f"{path}: cannot be read (permission denied)"
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"hello world, this is no sound at all", bytes(5000)])
def test_what_is_no_sound(recording, content):
    path, looked_at = recording
    path.write_bytes(content)
    expected = "cannot be decoded (Format not recognised); convert it to WAV or FLAC, or leave it out"
    if not content:
        expected = "is empty (0 bytes); copy it again or leave it out"
    assert lines_of(path, looked_at=looked_at) == f"{path}: {expected}"


def test_a_file_replaced_by_another_is_read_as_it_is(recording):
    path, looked_at = recording
    for rate, channels in ((8000, 1), (RATE, 2)):
        soundfile.write(path, np.repeat(noise(rate)[:, None], channels, 1), rate)
        row = (os.fspath(path), np.float64(0), np.float64(0), looked_at)
        (audio,) = tf.data.Dataset.from_tensors(row).map(lambda *row: load_audio_in_graph(*row, RATE))
        np.testing.assert_array_equal(audio, load_audio(path))


def test_a_wav_cut_after_it_was_looked_at(recording):
    path, looked_at = recording
    path.write_bytes(path.read_bytes()[: 44 + RATE])
    assert lines_of(path, looked_at=looked_at) == (
        f"{path}: the file is cut off: audio up to 0.50 s, but its header promises 1.00 s; "
        "copy it again or leave it out"
    )
    # The length that the header states, so that the loss is noticed where a manifest gives no duration.
    assert audio_duration_s(path) == 1.0


def test_no_samples(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(0), RATE)
    assert lines_of(path) == f"{path}: holds no samples in the part that is asked for; leave it out"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_samples_that_are_no_numbers(tmp_path, value):
    path = tmp_path / "a.wav"
    wave = noise(RATE)
    wave[5000] = value
    soundfile.write(path, wave, RATE, subtype="FLOAT")
    expected = f"{path}: holds samples that are not finite numbers (NaN or infinity); repair or remove it"
    assert lines_of(path) == expected
    assert len(load_audio(path, offset_s=0.5)) == 8000  # the rest of it can be used


@pytest.mark.parametrize("channels", [1, 2])
def test_samples_beyond_any_sound(tmp_path, channels):
    wave = np.repeat(noise(RATE)[:, None], channels, 1)
    wave[5000] = 3e38
    soundfile.write(tmp_path / "a.wav", wave, RATE, subtype="FLOAT")
    with pytest.raises(AudioError) as raised:
        load_audio(tmp_path / "a.wav")
    assert raised.value.kind == "values"
    # Integers that were written as floats without scaling are loud, but a sound.
    soundfile.write(tmp_path / "a.wav", noise(RATE) * 2.0**31, RATE, subtype="FLOAT")
    assert len(load_audio(tmp_path / "a.wav")) == RATE


def test_a_truncated_flac(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(4 * RATE), RATE)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    expected = "the file is cut off or damaged (flac decoder lost sync); copy it again or leave it out"
    assert lines_of(path) == f"{path}: {expected}"
    assert len(load_audio(path, offset_s=0.5, duration_s=0.5)) == 8000


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_a_truncated_ogg(tmp_path, subtype):
    """libsndfile takes what is left for the whole."""
    path = tmp_path / "a.ogg"
    soundfile.write(path, noise(8 * RATE), RATE, format="OGG", subtype=subtype)
    before = load_audio(path, offset_s=2, duration_s=0.5)
    assert len(load_audio(path)) == 8 * RATE
    content = path.read_bytes()
    page = content.rindex(b"OggS")
    for kept in (page, len(content) - 1):  # between pages, inside one; others: test_containers.py
        path.write_bytes(content[:kept])
        line = lines_of(path)
        seconds = soundfile.info(path).duration
        assert seconds < 8 and line == (
            f"{path}: the file is cut off: audio up to {seconds:.2f} s, but the Ogg stream goes on; "
            "copy it again or leave it out"
        )
        with pytest.raises(UserError, match="the Ogg stream goes on"):
            audio_duration_s(path)
    np.testing.assert_array_equal(load_audio(path, offset_s=2, duration_s=0.5), before)
    with pytest.raises(UserError, match="the Ogg stream goes on"):
        load_audio(path, offset_s=2, duration_s=6)


def variable_mp3(path, seconds=20):
    """An MP3 of variable bit rate, loud and quiet in turns; returns its bytes and where its frame count stands."""
    generator = np.random.default_rng(3)
    level = np.repeat(10 ** (generator.uniform(-60, 0, 2 * seconds) / 20), RATE // 2)
    with soundfile.SoundFile(path, "w", RATE, 1, compression_level=0.8, bitrate_mode="VARIABLE") as file:
        file.write((generator.normal(0, 0.3, len(level)) * level).clip(-0.9, 0.9))
    content = path.read_bytes()
    return content, content.index(b"Xing") + 8


def test_a_truncated_mp3(tmp_path):
    path = tmp_path / "a.mp3"
    content, _ = variable_mp3(path)
    path.write_bytes(content[: len(content) // 2])
    line = lines_of(path)
    assert line.startswith(f"{path}: the file is cut off: {len(content) - len(content) // 2} of the bytes are missing")


@pytest.mark.parametrize("share", [0, 0.3, 0.9, 3])
def test_an_mp3_whose_header_lies_about_its_frames(tmp_path, share):
    """Below the truth libsndfile would leave out the rest of the sound without a word."""
    path = tmp_path / "a.mp3"
    content, at = variable_mp3(path)
    frames = int.from_bytes(content[at : at + 4], "big")
    path.write_bytes(content[:at] + struct.pack(">I", int(frames * share)) + content[at + 4 :])
    line = lines_of(path)
    stated = soundfile.info(path).duration
    if stated > 20:  # without a count (0) libsndfile guesses from the first bit rate
        assert share in (0, 3) and "the file is cut off: audio up to 20.0" in line
        assert f"but its header promises {stated:.2f} s" in line
        return
    assert stated < 19 and line == (
        f"{path}: its header promises {stated:.2f} s, but there are 20.09 s of audio; "
        "write it again (ffmpeg -i OLD NEW)"
    )
    assert lines_of(path, offset_s=19, duration_s=0.5) == line  # not: "is beyond its end"
    with pytest.raises(UserError, match="write it again"):
        audio_duration_s(path)


def ten_hours(path, content=None, at_s=0):
    """A sparse 16-bit WAV of ten hours with `content` at one place; it takes no room on the disk."""
    data_bytes = 36000 * RATE * 2
    with open(path, "wb") as file:
        head = struct.pack(
            "<4sI4s4sIHHIIHH", b"RIFF", data_bytes + 36, b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16
        )
        file.write(head + struct.pack("<4sI", b"data", data_bytes))
        if content is not None:
            file.seek(44 + at_s * RATE * 2)
            file.write(content.tobytes())
        file.truncate(44 + data_bytes)


def test_ten_hours(tmp_path, monkeypatch):
    path = tmp_path / "a.wav"
    values = np.random.default_rng(1).integers(-9999, 9999, 3 * RATE).astype("<i2")
    ten_hours(path, values, at_s=9 * 3600)
    assert audio_duration_s(path) == 36000
    assert not is_graph_decodable(path, RATE)  # tf.io.read_file would read all of it
    frames_read = []
    read = soundfile.SoundFile.read

    def counting(self, frames=-1, *args, **kwargs):
        frames_read.append(frames)
        return read(self, frames, *args, **kwargs)

    monkeypatch.setattr(soundfile.SoundFile, "read", counting)
    part = load_audio(path, offset_s=9 * 3600, duration_s=3)
    np.testing.assert_array_equal(part, values / np.float32(32768))
    assert frames_read == [3 * RATE]
    frames_read.clear()
    expected = "10.0 h are asked for in one piece, at most 2 h are read; cut it with offset and duration"
    assert lines_of(path) == f"{path}: {expected}"
    assert lines_of(path, 3600.0, MAX_PART_S + 60.0).startswith(f"{path}: 2.0 h are asked for")
    assert not frames_read


def test_a_flac_that_states_two_years(tmp_path):
    path = tmp_path / "a.flac"
    soundfile.write(path, noise(RATE), RATE)
    content = bytearray(path.read_bytes())
    content[21] |= 0x0F  # STREAMINFO: 36 bits of samples in all
    content[22:26] = b"\xff" * 4
    path.write_bytes(content)
    assert "h are asked for in one piece" in lines_of(path)
    assert len(load_audio(path, duration_s=0.5)) == 8000


def test_two_hours_at_a_high_rate_are_not_read_in_one_piece(tmp_path):
    path = tmp_path / "a.wav"
    soundfile.write(path, np.zeros(10), 384_000, "PCM_U8")
    frames = MAX_PART_S * 384_000
    head = bytearray(path.read_bytes())
    head[4:8], head[40:44] = struct.pack("<I", frames + 36), struct.pack("<I", frames)
    path.write_bytes(head)
    os.truncate(path, frames + 44)  # sparse: no disk is taken
    with pytest.raises(AudioError, match="2.0 h are asked for in one piece, at most 0.25 h") as raised:
        load_audio(path, RATE)
    assert raised.value.kind == "too_long"
    assert len(load_audio(path, RATE, 3600, 1)) == RATE


def test_channels_count_where_they_are_decoded_together(tmp_path, monkeypatch):
    monkeypatch.setattr("jasper_tf.audio.load.MAX_PART_SAMPLES", 8000)
    for channels in (2, 4):
        soundfile.write(tmp_path / f"{channels}.ogg", np.zeros((3000, channels)), RATE)
    assert len(load_audio(tmp_path / "2.ogg", RATE)) == 3000
    with pytest.raises(AudioError, match="in one piece"):
        load_audio(tmp_path / "4.ogg", RATE)


@pytest.mark.parametrize("name", ["a.wav", "a.mp3", "a.m4a"])
@pytest.mark.parametrize("step", ["why_no_access", "media_format"])
def test_too_many_open_files_say_nothing_of_the_recording(tmp_path, monkeypatch, name, step):
    """Another thread opens the last ones while a recording is read, after `step`."""
    path = tmp_path / name
    if name == "a.m4a":
        path.write_bytes(encode_media(name, noise(RATE), RATE))
    else:
        soundfile.write(path, noise(RATE), RATE)
    whole = load_audio(path)
    before, limits, held = getattr(load, step), resource.getrlimit(resource.RLIMIT_NOFILE), []

    def without_files(*arguments):
        result = before(*arguments)
        with pytest.raises(OSError, match="open files"):
            while True:
                held.append(os.open(os.devnull, os.O_RDONLY))
        return result

    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, limits[1]))
        monkeypatch.setattr(load, step, without_files)
        with pytest.raises(AudioError) as raised:
            load_audio(path)
    finally:
        for one in held:
            os.close(one)
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert raised.value.kind == "unreadable" and "ulimit -n" in raised.value.detail
    monkeypatch.undo()
    assert np.array_equal(load_audio(path), whole)
