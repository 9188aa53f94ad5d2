"""Damaged files of every format that libsndfile or PyAV reads, and WAV files for the decoder in the SavedModel."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile
from hypothesis import strategies as st

from tests.audio.encode_media import MEDIA, encode_media
from tests.fuzz.mutations import damaged

pytestmark = pytest.mark.slow

SOUND = np.random.default_rng(0).uniform(-0.5, 0.5, (1600, 2))


def sound(kind: str, subtype: str | None, channels: int = 1, rate: int = 16000) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, SOUND[:, :channels], rate, format=kind, subtype=subtype)
    return file.getvalue()


def sounds() -> list[bytes]:
    """A file of each container and encoding that takes the sound as it is."""
    found = []
    for kind in soundfile.available_formats():
        for subtype in soundfile.available_subtypes(kind):
            try:
                found.append(sound(kind, subtype))
            except soundfile.SoundFileError:
                continue  # wants another rate, or is read only
    return found


WAVS = [
    sound("WAV", subtype, channels, rate)
    for subtype in ("PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW")
    for channels, rate in ((1, 16000), (2, 8000))
] + [sound("WAVEX", "PCM_16", 2)]
PIECES = (b"data\0\0\0\0", b"LIST\xff\xff\xff\xff", b"fmt \x10\0\0\0", b"junk\0\0\0\0" * 2000, b"\0" * 4096)


def write(folder: Path, example: bytes) -> Path:
    path = folder / "sound"
    path.write_bytes(example)
    return path


def test_sounds(fuzz):
    valid = sounds()
    assert len(valid) > 60
    examples = st.sampled_from(valid).flatmap(lambda file: damaged(file, PIECES)) | st.binary(max_size=100)
    fuzz("sound", examples, write, WAVS[1])


def test_media(fuzz):
    valid = [encode_media(name, SOUND[:, 0], 16000) for name in MEDIA]
    boxes = (b"\0\0\0\0moov", b"\xff\xff\xff\xffmdat", b"\0\0\0\x08stts", b"\x1a\x45\xdf\xa3" * 500, b"\0" * 4096)
    fuzz("sound", st.sampled_from(valid).flatmap(lambda file: damaged(file, boxes)), write, valid[0])


def test_wavs_in_the_graph(fuzz):
    examples = st.sampled_from(WAVS).flatmap(lambda file: damaged(file, PIECES)) | st.binary(max_size=100)
    fuzz("wav_in_graph", examples, write, WAVS[1])
