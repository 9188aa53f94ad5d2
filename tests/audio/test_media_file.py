"""Containers that libsndfile does not read: whole, in parts, cut, and without PyAV."""

import struct
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import soxr

from jasper_tf.audio.load import MAX_PART_S, audio_duration_s, load_audio
from jasper_tf.audio.media_file import MEDIA_SLACK_S, MediaFile, media_format
from jasper_tf.data.manifest.line import parse_line
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import AudioError, UserError
from tests.audio.encode_media import MEDIA, encode_media

ROOT = Path(__file__).parents[2]
RATE = 16_000
SECONDS = 6
_DELAY_S = 0.1
"""Raw AAC keeps the encoder's delay and WMA more or less of it: neither has a place to state it."""


@pytest.fixture(scope="module")
def tones():
    """A tone whose loudness is different at every moment: noise of 8 Hz modulates it."""
    rng = np.random.default_rng(0)
    loudness = np.repeat(rng.uniform(0.05, 0.8, 8 * SECONDS), RATE // 8)
    return loudness * np.sin(2 * np.pi * 440 * np.arange(SECONDS * RATE) / RATE)


@pytest.fixture(scope="module")
def folder(tones, tmp_path_factory):
    folder = tmp_path_factory.mktemp("media")
    for name in MEDIA:
        (folder / name).write_bytes(encode_media(name, tones, RATE))
    return folder


def loudness(audio):
    """RMS of each hundredth of a second."""
    return np.sqrt(np.mean(np.square(audio[: len(audio) // 160 * 160].reshape(-1, 160)), axis=1))


def lag_s(one, other):
    """By how much the loudness of `one` is later than that of `other`."""
    one, other = (loudness(audio) - loudness(audio).mean() for audio in (one, other))
    return (np.argmax(np.correlate(one, other, "full")) - len(other) + 1) / 100


@pytest.mark.parametrize("name", MEDIA)
def test_whole_and_in_parts(folder, tones, name):
    path = folder / name
    audio = load_audio(path, RATE)
    assert abs(len(audio) / RATE - SECONDS) <= _DELAY_S
    assert abs(audio_duration_s(path) - len(audio) / RATE) <= MEDIA_SLACK_S
    assert abs(lag_s(audio, tones)) <= (_DELAY_S if name.endswith((".aac", ".wma")) else 0.01)
    np.testing.assert_allclose(np.sort(loudness(audio))[-200:], np.sort(loudness(tones))[-200:], rtol=0.15)
    for offset_s in (0.5, 2.0, 3.513):
        part = load_audio(path, RATE, offset_s, 2.0)
        assert len(part) == 2 * RATE
        start = round(offset_s * RATE)
        np.testing.assert_allclose(loudness(part), loudness(audio[start : start + 2 * RATE]), atol=0.05)
    assert len(load_audio(path, RATE, 4.0)) == pytest.approx(len(audio) - 4 * RATE, abs=MEDIA_SLACK_S * RATE)
    with pytest.raises(AudioError) as raised:
        load_audio(path, RATE, 9.0, 1.0)
    assert raised.value.kind == "outside"


def test_lossless_is_exact(folder, tones):
    """ALAC of 44.1 kHz, back at 44.1 kHz; PyAV's resampler made it, soxr's is the twin."""
    wanted = soxr.resample(tones, RATE, 44_100)
    found = load_audio(folder / "a.mov", 44_100)
    np.testing.assert_allclose(found[2000:-2000], wanted[2000 : len(found) - 2000], atol=2e-3)
    np.testing.assert_array_equal(load_audio(folder / "a.mov", 44_100, 2.5, 1.5), found[110_250:176_400])


def test_a_manifest_takes_the_length_from_the_file(folder):
    """As in training: every reader goes through `load_audio`."""
    utterance = parse_line(b'{"audio_filepath": "a.m4a", "offset": 1, "text": "a"}', str(folder), "m.json:1")
    assert utterance.duration_s == pytest.approx(SECONDS - 1)
    np.testing.assert_array_equal(load_utterance(utterance, RATE), load_audio(folder / "a.m4a", RATE, 1.0, 5.0))


def test_channels(folder):
    left, both = (load_audio(folder / "a.mp4", RATE, channel_selector=one) for one in (0, "average"))
    np.testing.assert_allclose(left, both, atol=0.02)
    with pytest.raises(AudioError, match="2 channels, no channel 2"):
        load_audio(folder / "a.mp4", RATE, channel_selector=2)


@pytest.mark.parametrize("name", [name for name in MEDIA if not name.startswith("live")])
@pytest.mark.parametrize("kept", [0.01, 0.3, 0.9])
def test_a_file_that_ends_early(folder, tmp_path, name, kept):
    content = (folder / name).read_bytes()
    path = tmp_path / name
    path.write_bytes(content[: int(kept * len(content))])
    with pytest.raises(AudioError) as raised:
        load_audio(path)
    assert str(raised.value).startswith(f"{path}: ") and "cut off" in str(raised.value)
    assert str(raised.value).isprintable() and "Errno" not in str(raised.value)


def test_a_gap_in_the_time_stamps_is_silence(folder, tmp_path):
    """As recorders leave it that pause: the words after it keep their times."""
    import av

    with av.open(folder / "live.webm") as source, av.open(tmp_path / "gap.webm", "w", format="webm") as target:
        stream = target.add_stream_from_template(source.streams.audio[0])
        for packet in source.demux(source.streams.audio[0]):
            if packet.size:
                packet.pts = packet.dts = packet.pts + (3000 if packet.pts > 2000 else 0)
                packet.stream = stream
                target.mux(packet)
    whole, gap = load_audio(folder / "live.webm", RATE), load_audio(tmp_path / "gap.webm", RATE)
    assert abs(len(gap) - len(whole) - 3 * RATE) < 0.02 * RATE
    assert np.abs(gap[int(2.1 * RATE) : int(5.0 * RATE)]).max() < 1e-6
    np.testing.assert_allclose(loudness(gap[6 * RATE :])[:200], loudness(whole[3 * RATE :])[:200], atol=0.05)
    part = load_audio(tmp_path / "gap.webm", RATE, 6.0, 2.0)
    np.testing.assert_allclose(loudness(part), loudness(gap[6 * RATE :])[:200], atol=0.05)


@pytest.mark.parametrize(("kind", "codec"), [("mp4", "aac"), ("webm", "libopus"), ("matroska", "aac")])
@pytest.mark.parametrize("film", [False, True])
def test_sound_that_begins_late(tones, tmp_path, kind, codec, film):
    """Two seconds after the picture its times count from the picture; alone it begins with itself."""
    path = tmp_path / f"late.{kind}"
    write_late(path, kind, codec, tones, film)
    audio, late_s = load_audio(path, RATE), 2.0 if film else 0.0
    assert abs(len(audio) / RATE - SECONDS - late_s) <= MEDIA_SLACK_S
    assert abs(audio_duration_s(path) - len(audio) / RATE) <= MEDIA_SLACK_S
    wanted = np.concatenate([np.zeros(round(late_s * RATE)), tones])
    assert abs(lag_s(audio, wanted)) <= 0.03
    part = load_audio(path, RATE, 3.0, 2.0)
    np.testing.assert_allclose(loudness(part), loudness(audio[3 * RATE : 5 * RATE]), atol=0.05)


def write_late(path, kind, codec, tones, film):
    av = pytest.importorskip("av", reason="needs the extra formats")
    with av.open(path, "w", format=kind) as container:
        stream = container.add_stream(codec, rate=48_000, layout="mono")
        if film:
            picture = container.add_stream("libvpx" if kind == "webm" else "mpeg4", rate=10)
            picture.width = picture.height = 32
            for k in range(80):
                image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
                image.pts, image.time_base = k, Fraction(1, 10)
                container.mux(picture.encode(image))
            container.mux(picture.encode(None))
        samples = soxr.resample(tones, RATE, 48_000).astype(np.float32)
        frame = av.AudioFrame.from_ndarray(samples[None], "fltp", "mono")
        frame.sample_rate, frame.pts, frame.time_base = 48_000, 96_000, Fraction(1, 48_000)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, "mono", 48_000, frame_size=context.frame_size)
        for part in (frame, None):
            for resampled in resampler.resample(part):
                container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))


def test_a_webm_that_states_years(folder, tmp_path):
    content = bytearray((folder / "a.webm").read_bytes())
    at = content.index(b"\x44\x89\x88") + 3  # Duration, eight bytes
    content[at : at + 8] = struct.pack(">d", 1e10)
    (tmp_path / "a.webm").write_bytes(content)
    assert audio_duration_s(tmp_path / "a.webm") > MAX_PART_S
    with pytest.raises(AudioError) as raised:
        load_audio(tmp_path / "a.webm")
    assert raised.value.kind == "too_long"
    assert len(load_audio(tmp_path / "a.webm", RATE, 1.0, 2.0)) == 2 * RATE


def test_a_rate_that_changes(folder, tmp_path):
    (tmp_path / "a.aac").write_bytes((folder / "a.aac").read_bytes() + (folder / "cd.aac").read_bytes())
    with pytest.raises(AudioError, match="from 16000 to 44100 Hz") as raised:
        load_audio(tmp_path / "a.aac")
    assert raised.value.kind == "rate"


def test_a_video_without_sound(tmp_path):
    av = pytest.importorskip("av", reason="needs the extra formats")
    with av.open(tmp_path / "mute.mp4", "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width = stream.height = 32
        frame = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), format="rgb24")
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(AudioError, match="no audio track"):
        load_audio(tmp_path / "mute.mp4")


@pytest.mark.parametrize(
    "content", [b"#EXTM3U\n#EXTINF:1,\n{}\n", b"ffconcat version 1.0\nfile {}\n", b"<?xml?><MPD>{}</MPD>", b"v=0\n{}"]
)
def test_playlists_are_not_given_to_ffmpeg(folder, tmp_path, content):
    """They make it read other files, and addresses."""
    path = tmp_path / "list.m4a"
    path.write_bytes(content.replace(b"{}", str(folder / "a.m4a").encode()))
    assert media_format(path.read_bytes()) is None
    with pytest.raises(UserError, match="cannot be decoded"):
        load_audio(path)


def test_what_libsndfile_reads_is_left_to_it(tmp_path):
    for head in (
        b"RIFF\0\0\0\0WAVE",
        b"fLaC\0\0\0\0",
        b"OggS\0\0\0\0",
        b"ID3\3\0\0\0\0",
        b"\xff\xfb\x90\0\0\0\0\0",
        b"",
    ):
        assert media_format(head) is None


def test_a_file_is_closed(folder):
    with MediaFile(str(folder / "a.m4a"), "mov") as file:
        next(file.blocks(0, 10))
    for _ in range(1200):  # more than a process may have open
        audio_duration_s(folder / "a.m4a")


WITHOUT = """
import sys
sys.modules["av"] = None
from jasper_tf.audio.load import load_audio
try:
    load_audio(sys.argv[1])
except Exception as error:
    print(type(error).__name__, error)
"""


def test_without_pyav(folder):
    command = [sys.executable, "-c", WITHOUT, str(folder / "a.m4a")]
    [line] = subprocess.run(command, cwd=ROOT, capture_output=True, text=True).stdout.splitlines()
    assert line.startswith(f"AudioError {folder / 'a.m4a'}: ") and "pip install 'jasper-tf[formats]'" in line
