"""WAV files in the graph against libsndfile, and what is said of each kind of broken file."""

import io
import struct

import numpy as np
import pytest
import soundfile
import tensorflow as tf

from jasper_tf.audio.load import load_audio
from jasper_tf.export.saved_model.wav_decoding import decode_wav_files

SOUND = np.random.default_rng(0).uniform(-0.9, 0.9, (1600, 2))


@pytest.fixture(scope="module")
def decode():
    signature = [tf.TensorSpec([None], tf.string)]
    return tf.function(lambda files: decode_wav_files(files, 16000), input_signature=signature)


def wav(sound=SOUND, rate=16000, subtype="PCM_16", kind="WAV"):
    file = io.BytesIO()
    soundfile.write(file, sound, rate, subtype=subtype, format=kind)
    return file.getvalue()


def chunk(name, body):
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def riff(*chunks):
    body = b"WAVE" + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def fmt(encoding=1, channels=1, rate=16000, block=2, bits=16):
    return chunk(b"fmt ", struct.pack("<HHIIHH", encoding, channels, rate, rate * block, block, bits))


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
def test_each_encoding(decode, tmp_path, subtype, kind, channels):
    data = wav(SOUND[:, :channels], subtype=subtype, kind=kind)
    (tmp_path / "f.wav").write_bytes(data)
    audio, audio_len = decode([data])
    assert audio_len.numpy().tolist() == [1600]
    np.testing.assert_allclose(audio[0], load_audio(tmp_path / "f.wav"), atol=1e-7)


def test_a_batch_of_all_kinds(decode, tmp_path):
    files = [
        wav(),
        wav(SOUND[:37, :1], 8000, "PCM_24"),
        wav(SOUND[:1000], 44100, "FLOAT"),
        riff(chunk(b"LIST", b"odd"), fmt(), chunk(b"fact", b"four"), chunk(b"data", b"\1\0\2\0"), chunk(b"LIST", b"x")),
        riff(fmt(), b"data" + struct.pack("<I", 0xFFFFFFFF) + b"\1\0\2\0\3\0"),  # streamed: the size was not known
    ]
    audio, audio_len = (value.numpy() for value in decode(files))
    for row, length, file in zip(audio, audio_len, files, strict=True):
        (tmp_path / "f.wav").write_bytes(file)
        expected = load_audio(tmp_path / "f.wav")
        assert length == len(expected)
        # At other rates soxr's first and last samples are its own (see test_resampling).
        inner = slice(100, -100) if len(expected) not in (1600, 2, 3) else slice(None)
        np.testing.assert_allclose(row[:length][inner], expected[inner], atol=2e-3)
        assert not row[length:].any()
    assert [value.shape for value in decode(tf.constant([], tf.string))] == [(0, 0), (0,)]


WHOLE = wav()
BROKEN = {
    "empty": (b"", "is no WAV file"),
    "flac": (b"fLaC" + bytes(200), "is no WAV file"),
    "big_endian": (b"RIFX" + WHOLE[4:], "is no WAV file"),
    "header_only_begun": (WHOLE[:30], "has no data chunk"),
    "no_data": (riff(fmt()), "has no data chunk"),
    "no_fmt": (riff(chunk(b"data", bytes(8)), fmt()), "has no whole fmt chunk"),
    "short_fmt": (riff(chunk(b"fmt ", bytes(8)), chunk(b"data", bytes(8))), "has no whole fmt chunk"),
    "no_channels": (riff(fmt(channels=0), chunk(b"data", bytes(8))), "0 channels, 16000 Hz, 2 bytes a frame"),
    "no_rate": (riff(fmt(rate=0), chunk(b"data", bytes(8))), "impossible fmt chunk: 1 channels, 0 Hz"),
    "absurd_rate": (riff(fmt(rate=2**30), chunk(b"data", bytes(8))), "impossible fmt chunk"),
    "gigabytes_at_16_khz": (riff(fmt(rate=1), chunk(b"data", bytes(1 << 20))), "fmt chunk: 1 channels, 1 Hz"),
    "bits_of_other_size": (riff(fmt(block=4), chunk(b"data", bytes(8))), "4 bytes a frame, 16 bits"),
    "no_bits": (riff(fmt(bits=0), chunk(b"data", bytes(8))), "2 bytes a frame, 0 bits"),
    "no_block": (riff(fmt(block=0), chunk(b"data", bytes(8))), "impossible fmt chunk"),
    "uneven_block": (riff(fmt(channels=2, block=3), chunk(b"data", bytes(9))), "impossible fmt chunk"),
    "below_the_lowest_rate": (riff(fmt(rate=999), chunk(b"data", bytes(8))), "impossible fmt chunk"),
    "above_the_highest_rate": (riff(fmt(rate=384_001), chunk(b"data", bytes(8))), "impossible fmt chunk"),
    "a_frame_short": (riff(fmt(), b"data" + struct.pack("<I", 200) + bytes(199)), "is cut off"),
    "empty_chunks": (riff(fmt(), chunk(b"LIST", b"") * 1_000_000, chunk(b"data", bytes(8))), "has no data chunk"),
    "half_an_hour": (riff(fmt(rate=1000, block=1, bits=8), chunk(b"data", bytes(1_801_000))), "lasts 1801 s"),
    "adpcm": (wav(subtype="IMA_ADPCM"), "holds WAV format 17 of "),
    "pcm_of_64": (riff(fmt(block=8, bits=64), chunk(b"data", bytes(16))), "holds WAV format 1 of 64 bits"),
    "cut_off": (wav(rate=8000)[:2000], "is cut off: its header promises 6400 bytes of sound, it has 1956"),
    "no_samples": (wav(SOUND[:0]), "holds no samples"),
    "no_samples_at_16_khz": (wav(SOUND[:1], 48000), "holds no samples"),
    "beyond_any_sound": (wav(SOUND * 1e38, subtype="FLOAT"), "holds samples beyond 8.6e+09"),
    "infinite": (wav(SOUND * np.inf, subtype="FLOAT"), "holds samples that are not finite numbers"),
    "nan": (wav(SOUND * np.nan, subtype="FLOAT"), "holds samples that are not finite numbers"),
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_file(decode, kind):
    data, why = BROKEN[kind]
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        decode([WHOLE, data, WHOLE])
    assert "assertion failed: [audio[1]: " in raised.value.message and why in raised.value.message


def test_cut_anywhere_is_refused_or_read(decode):
    for length in range(0, len(WHOLE), 97):
        try:
            decode([WHOLE[:length]])
        except tf.errors.InvalidArgumentError as error:
            assert "audio[0]: " in error.message


def test_a_long_file_among_many_is_refused_before_it_is_padded(decode):
    long = riff(fmt(rate=1000, block=1, bits=8), chunk(b"data", bytes(1_500_000)))
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"audio\[4\]: lasts so long that the batch, padded to it"):
        decode([WHOLE] * 4 + [long])


@pytest.mark.parametrize("rate", [1000, 1009, 383_983, 384_000])
def test_the_ends_of_the_range_of_rates(decode, tmp_path, rate):
    """Primes: every output has a kernel of its own."""
    data = wav(np.sin(np.arange(rate // 2) * (2 * np.pi * 100 / rate)), rate)
    (tmp_path / "f.wav").write_bytes(data)
    audio, _ = decode([data])
    expected = load_audio(tmp_path / "f.wav")
    np.testing.assert_allclose(audio[0, 2000:-2000], expected[2000:-2000], atol=1e-3)
