import io
import struct

import numpy as np
import pytest
import soundfile

from jasper_tf.audio.pcm_stream import PcmStream
from jasper_tf.errors import AudioError

SAMPLES = np.random.default_rng(0).integers(-(2**15), 2**15, 70_001).astype("<i2")


class Pipe(io.RawIOBase):
    """Gives the bytes in pieces of `size`, as a pipe may."""

    def __init__(self, content: bytes, size: int):
        self._content, self._size = io.BytesIO(content), size

    def readable(self):
        return True

    def readinto(self, buffer):
        data = self._content.read(min(len(buffer), self._size))
        buffer[: len(data)] = data
        return len(data)


def read(content, size=1000, **options):
    stream = PcmStream(io.BufferedReader(Pipe(content, size), buffer_size=16), **options)
    return stream.sample_rate, np.concatenate([np.zeros(0, np.float32), *stream.blocks()])


def wav(samples, rate, **options):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", **options)
    return file.getvalue()


@pytest.mark.parametrize("size", [1, 3, 1000, 10**6])
def test_raw_samples_in_pieces_of_any_size(size):
    count = 500 if size == 1 else len(SAMPLES)
    rate, found = read(SAMPLES[:count].tobytes() + b"\1", size, sample_rate=8000)
    assert rate == 8000
    np.testing.assert_array_equal(found, SAMPLES[:count] / np.float32(2**15))


@pytest.mark.parametrize("content", [b"", b"\1", b"\1\2", b"\1\2\3", b"RIF"])
def test_very_short_input(content):
    _, found = read(content)
    np.testing.assert_array_equal(found, np.frombuffer(content[: len(content) // 2 * 2], "<i2") / np.float32(2**15))


def test_a_wav_header_states_the_rate():
    content = wav(SAMPLES, 44100, subtype="PCM_16")
    assert content[:4] == b"RIFF"
    # A pipe's header has sizes that are not those of the content, and often a chunk of notes.
    head, data = content[:36], content[36:]
    piped = head[:4] + b"\xff\xff\xff\x7f" + head[8:] + b"LIST" + struct.pack("<I", 5) + b"notes\0"
    piped += b"data\xff\xff\xff\x7f" + data[8:]
    for one in (content, piped):
        rate, found = read(one)
        assert rate == 44100
        np.testing.assert_array_equal(found, SAMPLES / np.float32(2**15))


def test_what_follows_the_samples_of_a_file_is_no_sound():
    content = wav(SAMPLES, 16000, subtype="PCM_16")
    picture = b"id3 " + struct.pack("<I", 100_000) + bytes(range(250)) * 400
    _, found = read(content + picture)
    np.testing.assert_array_equal(found, SAMPLES / np.float32(2**15))
    endless = content[:40] + b"\0\0\0\0" + content[44:]
    assert len(read(endless)[1]) == len(SAMPLES)


def test_a_file_that_may_be_larger_than_4_gb():
    file = io.BytesIO()
    soundfile.write(file, SAMPLES, 44100, format="RF64", subtype="PCM_16")
    assert file.getvalue()[:4] == b"RF64"
    rate, found = read(file.getvalue())
    assert rate == 44100
    np.testing.assert_array_equal(found, SAMPLES / np.float32(2**15))


@pytest.mark.parametrize(
    "content, kind",
    [
        (wav(np.zeros((10, 2)), 16000, subtype="PCM_16"), "channel"),
        (wav(np.zeros(10), 16000, subtype="PCM_24"), "not_audio"),
        (wav(np.zeros(10), 16000, subtype="FLOAT"), "not_audio"),
        (wav(np.zeros(10), 16000, subtype="PCM_16")[:20], "cut"),
        (b"RIFF\0\0\0\0AVI LIST", "not_audio"),
        (b"RIFF\0\0\0\0WAVELIST\xff\xff\xff\xff", "not_audio"),
    ],
)
def test_wav_that_is_not_taken(content, kind):
    with pytest.raises(AudioError) as error:
        read(content)
    assert error.value.kind == kind


@pytest.mark.parametrize("encoding", [{"format": "FLAC"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "AIFF"}])
def test_an_encoded_file_is_no_samples(encoding):
    file = io.BytesIO()
    soundfile.write(file, SAMPLES[:16000], 16000, **encoding)
    with pytest.raises(AudioError, match="encoded"):
        read(file.getvalue())
