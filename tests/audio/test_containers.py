"""Lengths counted in the bytes, against what the encoder was given."""

import numpy as np
import pytest
import soundfile

from jasper_tf.audio.container_length import missing_bytes
from jasper_tf.audio.containers import Mp3Frames, mp3_frames, ogg_lacks_its_end


@pytest.fixture
def tone():
    return lambda samples: 0.3 * np.sin(np.arange(samples) / 7)


@pytest.mark.parametrize("mode", ["CONSTANT", "VARIABLE"])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("rate", [8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000])
def test_mp3_frames(tmp_path, tone, rate, channels, mode):
    path = tmp_path / "a.mp3"
    wave = np.repeat(tone(3 * rate)[:, None], channels, 1)
    with soundfile.SoundFile(path, "w", rate, channels, bitrate_mode=mode) as file:
        file.write(wave)
    samples, per_frame, is_cut = mp3_frames(path)
    assert not is_cut
    assert per_frame == (1152 if rate >= 32000 else 576)
    assert samples % per_frame == 0 and 0 < samples - len(wave) <= 4 * per_frame
    content = path.read_bytes()
    path.write_bytes(b"ID3\x04\0\0\0\0\x01\x02" + bytes(130) + content + b"TAG" + bytes(125))
    assert mp3_frames(path) == Mp3Frames(samples, per_frame, False)
    path.write_bytes(content[:-1])  # the last frame is not whole
    assert mp3_frames(path) == Mp3Frames(samples - per_frame, per_frame, True)
    middle = len(content) // 2
    path.write_bytes(content[:middle] + bytes(3000) + content[middle:])
    assert mp3_frames(path) is None


def test_what_is_not_there_has_no_length(tmp_path):
    path = tmp_path / "a.wav"
    assert mp3_frames(path) is None and not ogg_lacks_its_end(path) and missing_bytes(path) == 0
    path.write_bytes(b"")
    assert mp3_frames(path) is None and not ogg_lacks_its_end(path) and missing_bytes(path) == 0


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_the_end_of_an_ogg_stream(tmp_path, tone, subtype):
    path = tmp_path / "a.ogg"
    soundfile.write(path, tone(40000), 16000, format="OGG", subtype=subtype)
    content = path.read_bytes()
    assert not ogg_lacks_its_end(path)
    last = content.rindex(b"OggS")
    for kept in (last, last + 5, last + 27, len(content) - 1):
        path.write_bytes(content[:kept])
        assert ogg_lacks_its_end(path)
    path.write_bytes(content[: last + 5] + bytes([content[last + 5] & ~4]) + content[last + 6 :])
    assert ogg_lacks_its_end(path)
