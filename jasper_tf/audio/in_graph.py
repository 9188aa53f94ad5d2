"""Reads audio files inside a TensorFlow graph: plain WAV by tensorflow-io, other files by libsndfile and soxr."""

from __future__ import annotations

import functools
import os
import struct
import warnings
from types import ModuleType

import numpy as np
import soundfile
import soxr
import tensorflow as tf

from jasper_tf.audio.containers import plain_wav_header
from jasper_tf.audio.graph_errors import keeps_errors
from jasper_tf.audio.load import DURATION_SLACK_S, ChannelSelector, load_audio
from jasper_tf.audio.media_file import pyav_version

_HEADER_BYTES = 44
_GRAPH_SECONDS = 60


def load_audio_in_graph(
    path: tf.Tensor,
    offset_s: tf.Tensor,
    duration_s: tf.Tensor,
    in_graph: tf.Tensor,
    sample_rate: int,
    channel_selector: ChannelSelector = "average",
) -> tf.Tensor:
    """`load_audio` as graph operations, for custom `tf.data` pipelines: the same samples, audio [S] tf.float32.

    `SpeechBatches` reads without it: a batch at a time by libsndfile is faster than file by file in the graph.

    Args:
        path: tf.string scalar.
        offset_s: scalar, float64 where sample-exact cuts in long files matter.
        duration_s: scalar; 0 or less: to the end.
        in_graph: tf.bool scalar, the result of `is_graph_decodable` for this file. If true, tensorflow-io decodes it
            without Python, otherwise libsndfile and soxr do, in a `tf.numpy_function`.
        sample_rate: wanted rate in Hz.
        channel_selector: "average" or the number of one channel.

    Raises:
        tf.errors.OpError: where `load_audio` raises UserError; `user_error_in` finds it. Called eagerly, the UserError
            itself. For a file that was removed since `is_graph_decodable`, TensorFlow's own error with its path.
    """
    offset_s = tf.cast(offset_s, tf.float64)
    duration_s = tf.cast(duration_s, tf.float64)
    tfio, _ = _tensorflow_io()

    @keeps_errors
    def read(path: bytes | np.ndarray, offset_s: float, duration_s: float) -> np.ndarray:
        # Graphs pass the bytes; called eagerly, TensorFlow wraps them in an array.
        name = os.fsdecode(np.asarray(path, object).item())
        wanted_s = float(duration_s) if duration_s > 0 else None
        return load_audio(name, sample_rate, float(offset_s), wanted_s, channel_selector)

    def by_soundfile() -> tf.Tensor:
        return tf.numpy_function(read, [path, offset_s, duration_s], tf.float32)

    def decoded_part(content: tf.Tensor) -> tf.Tensor:
        assert tfio is not None
        decoded = tfio.audio.decode_wav(content, dtype=tf.int16)[:, 0]
        start = tf.cast(tf.round(offset_s * sample_rate), tf.int64)
        wanted = tf.cast(tf.round(duration_s * sample_rate), tf.int64)
        length = tf.size(decoded, out_type=tf.int64)
        end = tf.where(duration_s > 0, start + wanted, length)
        part = tf.cast(decoded[start:end], tf.float32) / 32768.0
        # load_audio raises the error for a part that the file does not have.
        too_short = (start >= length) | (end <= start) | (end > length + int(DURATION_SLACK_S * sample_rate))
        return tf.cond(too_short, by_soundfile, lambda: part)

    def by_tfio() -> tf.Tensor:
        content = tf.io.read_file(path)
        # A file may have changed since is_graph_decodable saw it; tensorflow-io decodes a shorter one without error.
        return tf.cond(_is_plain_wav(content, sample_rate), lambda: decoded_part(content), by_soundfile)

    if tfio is None or channel_selector not in ("average", 0):
        audio = by_soundfile()
    else:
        audio = tf.cond(in_graph, by_tfio, by_soundfile)
    audio.set_shape([None])
    return audio


def is_graph_decodable(path: str | os.PathLike, sample_rate: int) -> bool:
    """Whether tensorflow-io may decode it in the graph: a whole, plain 16-bit PCM mono WAV at `sample_rate`.

    At most a minute long: tensorflow-io reads whole files, libsndfile seeks to the part that is asked for.

    Reads 44 bytes. Also False if the ops of tensorflow-io do not load, or the file cannot be read.
    """
    if _tensorflow_io()[0] is None:
        return False
    try:
        with open(path, "rb") as file:
            # With other chunks in the file tensorflow-io fails, or gives wrong samples after one of odd size.
            size = os.fstat(file.fileno()).st_size
            longest = _HEADER_BYTES + 2 * sample_rate * _GRAPH_SECONDS
            return _HEADER_BYTES < size <= longest and file.read(_HEADER_BYTES) == plain_wav_header(size, sample_rate)
    except OSError:
        return False


def live_decoders() -> dict[str, str]:
    """Names the library that decodes each kind of file on this machine."""
    libsndfile = f"soundfile {soundfile.__version__} (libsndfile {soundfile.__libsndfile_version__})"
    tfio, reason = _tensorflow_io()
    formats = soundfile.available_formats()
    decoders = {}
    for name in ("WAV", "FLAC", "OGG", "MP3"):
        decoders[name] = libsndfile if name in formats else "none: this libsndfile is too old; upgrade soundfile"
    decoders["M4A, MP4, WebM, WMA"] = pyav_version() or "none; pip install 'jasper-tf[formats]'"
    decoders["plain WAV, in the graph"] = f"tensorflow-io {tfio.__version__}" if tfio else f"tensorflow-io: {reason}"
    decoders["resampling"] = f"soxr {soxr.__version__}, HQ"
    return decoders


@functools.cache
def _tensorflow_io() -> tuple[ModuleType | None, str]:
    """The package when its compiled ops work (else None), and why not."""
    # It is a large import that warns where it does not fit the TensorFlow release; it fails at the first op only.
    try:
        with warnings.catch_warnings(), tf.init_scope():
            warnings.simplefilter("ignore")
            import tensorflow_io as tfio

            wav = plain_wav_header(_HEADER_BYTES + 4, 16000) + struct.pack("<hh", 1, -1)
            samples = tfio.audio.decode_wav(wav, dtype=tf.int16).numpy()
    except (ImportError, NotImplementedError, AttributeError, OSError, tf.errors.OpError) as error:
        return None, f"not usable ({type(error).__name__} with TensorFlow {tf.__version__})"
    if samples.tolist() != [[1], [-1]]:
        return None, "not usable (decodes wrongly)"
    return tfio, ""


def _is_plain_wav(content: tf.Tensor, sample_rate: int) -> tf.Tensor:
    """tf.bool: whether the bytes `content` are what `is_graph_decodable` asks for."""
    expected = plain_wav_header(_HEADER_BYTES, sample_rate)
    length = tf.strings.length(content)

    def has_header() -> tf.Tensor:
        plain = tf.strings.substr(content, 8, 32) == expected[8:40]
        (data_bytes,) = tf.unstack(tf.io.decode_raw(tf.strings.substr(content, 40, 4), tf.int32), 1)
        return plain & (tf.strings.substr(content, 0, 4) == expected[:4]) & (data_bytes == length - _HEADER_BYTES)

    return tf.cond(length > _HEADER_BYTES, has_header, lambda: tf.constant(False))
