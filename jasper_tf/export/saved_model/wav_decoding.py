"""Decodes WAV files with TensorFlow operations, so that stock TensorFlow Serving takes whole files."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import tensorflow as tf

from jasper_tf.audio.load import HIGHEST_RATE_HZ, LOWEST_RATE_HZ, MAX_AMPLITUDE
from jasper_tf.export.saved_model.resampling import resample

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
# A sub-format's GUID after its first two bytes, which are the encoding (Microsoft: WAVEFORMATEXTENSIBLE).
_GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
_FMT_BYTES = 40
# Streaming writers do not know the size and write the largest number.
_STREAMED = 0x7FFFF000
# Real files have about ten; each takes a step of a loop.
_MOST_CHUNKS = 1000

MAX_FILE_S = 1800
"""Files must be shorter: the network's memory grows with the length."""

MAX_BATCH_S = 7200
"""Longest batch, padded to its longest file: 0.5 GB at 16 kHz."""


def decode_wav_files(files: tf.Tensor, sample_rate: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Decodes whole WAV files like `load_audio` -> (audio [B,S] float32 padded with zeros, audio_len [B] int32).

    PCM of 8, 16, 24 and 32 bits, floats of 32 and 64, A-law and mu-law, plain or extensible, any rate from
    `LOWEST_RATE_HZ` to `HIGHEST_RATE_HZ` and any number of channels, which are averaged and then resampled (see
    `resample`). Up to a thousand chunks other than `fmt ` and `data` are skipped.

    To bound the time and memory of a request, files must be shorter than `MAX_FILE_S`, and a batch, padded to its
    longest file, shorter than `MAX_BATCH_S`.

    Args:
        files: [B] string, the contents of the files.
        sample_rate: of the result, Hz.

    Raises:
        tf.errors.InvalidArgumentError: the first invalid file, counted from 0, and the reason: `audio[2]: ...`.
    """
    count = tf.size(files)
    waves = tf.TensorArray(tf.float32, size=count, infer_shape=False, element_shape=[None])
    audio_len = tf.TensorArray(tf.int32, size=count, element_shape=[])

    def step(i, longest_s, waves, audio_len):
        where = tf.strings.join(["audio[", tf.strings.as_string(i), "]: "])
        mono, rate = _decode(files[i], where, sample_rate)
        longest_s = tf.maximum(longest_s, tf.size(mono) / tf.cast(rate, tf.int32))
        is_too_long = longest_s * tf.cast(count, tf.float64) > MAX_BATCH_S
        problem = ["lasts so long that the batch, padded to it, has over ", MAX_BATCH_S, " s; send fewer files at once"]
        with tf.control_dependencies([_refuse(where, [(is_too_long, problem)])]):
            wave = resample(tf.identity(mono), rate, sample_rate)
        return i + 1, longest_s, waves.write(i, wave), audio_len.write(i, tf.size(wave))

    begin = (0, tf.constant(0.0, tf.float64), waves, audio_len)
    _, _, waves, audio_len = tf.while_loop(lambda i, *_: i < count, step, begin)
    lengths = audio_len.stack()
    flat = tf.cond(count > 0, waves.concat, lambda: tf.zeros([0]))
    return tf.RaggedTensor.from_row_lengths(flat, lengths).to_tensor(), lengths


class _Chunks(NamedTuple):
    """Positions of the chunks' bodies, in bytes from the file's start (-1: not found), and their sizes; int64."""

    fmt: tf.Tensor
    fmt_size: tf.Tensor
    data: tf.Tensor
    data_size: tf.Tensor


def _decode(file: tf.Tensor, where: tf.Tensor, sample_rate: int) -> tuple[tf.Tensor, tf.Tensor]:
    """One file's bytes (a scalar) -> mono [S] float32 and its rate, int64; `where` begins error messages."""
    size = tf.cast(tf.strings.length(file), tf.int64)
    start = _head(file, 0, 12)
    is_wav = tf.equal(tf.strings.substr(start, 0, 4), "RIFF") & tf.equal(tf.strings.substr(start, 8, 4), "WAVE")
    refused = _refuse(where, [(~is_wav, ["is no WAV file (RIFF ... WAVE at its start); convert it to WAV"])])
    with tf.control_dependencies([refused]):
        chunks = _find_chunks(tf.identity(file), size)
    refused = _refuse(
        where,
        [
            (chunks.data < 0, ["has no data chunk in its first thousand: it ends before its audio; send it again"]),
            ((chunks.fmt < 0) | (chunks.fmt_size < 16), ["has no whole fmt chunk before its data; write it anew"]),
        ],
    )
    with tf.control_dependencies([refused]):
        fmt = _head(file, chunks.fmt, _FMT_BYTES)

    encoding, channels, block, bits = (_number(fmt, at, 2) for at in (0, 2, 12, 14))
    rate = _number(fmt, 4, 4)
    is_guid = (chunks.fmt_size >= _FMT_BYTES) & tf.equal(tf.strings.substr(fmt, 26, 14), _GUID_TAIL)
    encoding = tf.where(tf.equal(encoding, _EXTENSIBLE) & is_guid, _number(fmt, 24, 2), encoding)
    at_least_1 = tf.maximum(channels, 1)
    sample_bytes = block // at_least_1
    is_float = tf.equal(encoding, _FLOAT)
    is_pcm = tf.equal(encoding, _PCM) & (sample_bytes <= 4)
    is_companded = (tf.equal(encoding, _A_LAW) | tf.equal(encoding, _MU_LAW)) & tf.equal(sample_bytes, 1)
    is_known = is_pcm | is_float & (tf.equal(sample_bytes, 4) | tf.equal(sample_bytes, 8)) | is_companded
    # Other encodings define their bits differently; those that are decoded here must fill their bytes.
    is_possible = (channels > 0) & (block > 0) & tf.equal(block % at_least_1, 0)
    is_possible &= ~is_known | tf.equal((bits + 7) // 8, sample_bytes)
    is_possible &= (rate >= LOWEST_RATE_HZ) & (rate <= HIGHEST_RATE_HZ)

    present = tf.minimum(chunks.data_size, size - chunks.data)
    frames = present // tf.maximum(block, 1)
    seconds = frames // tf.maximum(rate, 1)
    is_cut = (chunks.data_size < _STREAMED) & (frames < chunks.data_size // tf.maximum(block, 1))
    shape = [channels, " channels, ", rate, " Hz, ", block, " bytes a frame, ", bits, " bits"]
    refused = _refuse(
        where,
        [
            (
                ~is_possible,
                ["has an impossible fmt chunk: ", *shape],
            ),
            (
                ~is_known,
                [
                    "holds WAV format ",
                    encoding,
                    " of ",
                    8 * sample_bytes,
                    " bits, not PCM of 8 to 32, float, A-law or mu-law; convert it",
                ],
            ),
            (is_cut, ["is cut off: its header promises ", chunks.data_size, " bytes of sound, it has ", present]),
            (2 * frames * sample_rate < rate, ["holds no samples"]),  # none are left after resampling
            (seconds >= MAX_FILE_S, ["lasts ", seconds, " s, less than ", MAX_FILE_S, " s are read; cut it"]),
        ],
    )
    with tf.control_dependencies([refused]):
        raw = tf.strings.substr(file, chunks.data, frames * block)
    index = tf.where(is_float, 3 + sample_bytes // 4, tf.where(is_companded, encoding, sample_bytes - 1))
    samples = tf.switch_case(tf.cast(index, tf.int32), [lambda read=read: read(raw) for read in _READERS])
    mono = tf.reduce_mean(tf.reshape(samples, tf.stack([frames, channels])), axis=1)
    is_finite = tf.reduce_all(tf.math.is_finite(mono))
    is_loud = tf.reduce_any(tf.abs(mono) > MAX_AMPLITUDE)
    refused = _refuse(
        where,
        [
            (~is_finite, ["holds samples that are not finite numbers (NaN or infinity); repair it"]),
            (is_loud, [f"holds samples beyond {MAX_AMPLITUDE:.1e}, full scale is 1; scale it"]),
        ],
    )
    with tf.control_dependencies([refused]):
        return tf.identity(mono), tf.identity(rate)  # after the checks


def _pcm24(raw: tf.Tensor) -> tf.Tensor:
    low, middle, high = tf.unstack(tf.cast(tf.reshape(tf.io.decode_raw(raw, tf.uint8), [-1, 3]), tf.int32), axis=1)
    value = low + 256 * middle + 65536 * (high - 256 * tf.cast(high >= 128, tf.int32))
    return tf.cast(value, tf.float32) / 2.0**23


def _a_law() -> np.ndarray:
    """The value of each byte (ITU-T G.711, table 1): sign, exponent of 3 bits, mantissa of 4, even bits inverted."""
    code = np.arange(256) ^ 0x55
    exponent, step = code >> 4 & 7, 2 * (code & 15) + 1
    size = np.where(exponent == 0, step, (step + 32) << np.maximum(exponent - 1, 0))
    return (np.where(code & 128, size, -size) * 8 / 2**15).astype(np.float32)


def _mu_law() -> np.ndarray:
    """The value of each byte (ITU-T G.711, table 2): sign, exponent of 3 bits, mantissa of 4, all bits inverted."""
    code = np.arange(256) ^ 0xFF
    size = ((2 * (code & 15) + 33) << (code >> 4 & 7)) - 33
    return (np.where(code & 128, -size, size) * 4 / 2**15).astype(np.float32)


_READERS = (
    lambda raw: (tf.cast(tf.io.decode_raw(raw, tf.uint8), tf.float32) - 128.0) / 128.0,
    lambda raw: tf.cast(tf.io.decode_raw(raw, tf.int16), tf.float32) / 2.0**15,
    _pcm24,
    lambda raw: tf.cast(tf.io.decode_raw(raw, tf.int32), tf.float32) / 2.0**31,
    lambda raw: tf.io.decode_raw(raw, tf.float32),
    lambda raw: tf.cast(tf.io.decode_raw(raw, tf.float64), tf.float32),
    lambda raw: tf.gather(_a_law(), tf.cast(tf.io.decode_raw(raw, tf.uint8), tf.int32)),
    lambda raw: tf.gather(_mu_law(), tf.cast(tf.io.decode_raw(raw, tf.uint8), tf.int32)),
)
"""By number: PCM of 1 to 4 bytes, floats of 4 and 8, A-law (6), mu-law (7)."""


def _find_chunks(file: tf.Tensor, size: tf.Tensor) -> _Chunks:
    none = tf.constant(-1, tf.int64)

    def looking(at, chunks):
        return (chunks.data < 0) & (at + 8 <= size)

    def look(at, chunks):
        name, length, body = tf.strings.substr(file, at, 4), _number(_head(file, at, 8), 4, 4), at + 8
        is_fmt, is_data = tf.equal(name, "fmt "), tf.equal(name, "data")
        found = _Chunks(
            fmt=tf.where(is_fmt, body, chunks.fmt),
            fmt_size=tf.where(is_fmt, tf.minimum(length, size - body), chunks.fmt_size),
            data=tf.where(is_data, body, chunks.data),
            data_size=tf.where(is_data, length, chunks.data_size),
        )
        return body + length + length % 2, found  # chunks begin at even bytes

    begin = (tf.constant(12, tf.int64), _Chunks(none, none, none, none))
    return tf.while_loop(looking, look, begin, parallel_iterations=1, maximum_iterations=_MOST_CHUNKS)[1]


def _head(file: tf.Tensor, at: tf.Tensor | int, length: int) -> tf.Tensor:
    """Returns `length` bytes from `at` on, zeros after the end of the file."""
    at = tf.minimum(tf.cast(at, tf.int64), tf.cast(tf.strings.length(file), tf.int64))
    return tf.strings.join([tf.strings.substr(file, at, tf.constant(length, tf.int64)), b"\0" * length])


def _number(file: tf.Tensor, at: int, length: int) -> tf.Tensor:
    """An unsigned little-endian number of 2 or 4 bytes, as int64."""
    digits = tf.cast(tf.io.decode_raw(tf.strings.substr(file, at, length), tf.uint8), tf.int64)
    return tf.reduce_sum(digits * tf.constant([1 << 8 * i for i in range(length)], tf.int64))


def _refuse(where: tf.Tensor, problems: list[tuple[tf.Tensor, list]]) -> tf.Operation:
    """Fails with the text of the first problem that is true, whose parts are strings and numbers."""
    message = tf.constant("")
    for is_true, parts in reversed(problems):
        text = tf.strings.join([part if isinstance(part, str) else tf.strings.as_string(part) for part in parts])
        message = tf.where(is_true, text, message)
    return tf.debugging.Assert(tf.equal(message, ""), [tf.strings.join([where, message])])
