"""Sound files to mono float32 samples: by libsndfile and soxr, or inside the graph by tensorflow-io."""

from __future__ import annotations

import functools
import os
import re
import stat
import struct
import warnings
from types import ModuleType
from typing import TYPE_CHECKING, Literal

import numpy as np
import soundfile
import soxr

from jasper_tf.data.manifest_line import is_remote
from jasper_tf.data.memory_file import in_memory, read_remote
from jasper_tf.data.sound_container import missing_wav_frames, plain_wav_header, preroll_frames, refuse_wrong_length
from jasper_tf.errors import UserError

if TYPE_CHECKING:
    # load_audio alone, as the client of a server uses it, must not wait seconds for TensorFlow.
    import tensorflow as tf

ChannelSelector = Literal["average"] | int

HEADER_SLACK_S = 0.05
"""A file may end this much before its own header says: MP3 headers count the encoder's padding."""

DURATION_SLACK_S = 0.5
"""A file may end this much before offset + duration: manifests round to tenths or to whole seconds."""

MAX_PART_S = 2 * 3600
"""No more than this is read in one piece: 0.5 GB at 16 kHz."""

_MAX_FRAMES = 1 << 40
_BLOCK_FRAMES = 1 << 20
_HEADER_BYTES = 44
_GRAPH_SECONDS = 60


def load_audio(
    path: str | os.PathLike,
    sample_rate: int = 16000,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    channel_selector: ChannelSelector = "average",
) -> np.ndarray:
    """Reads a sound file (WAV, FLAC, OGG, MP3 and what else libsndfile knows) -> mono audio [S] float32, full scale 1.

    Only the asked part is decoded. Channels are mixed before resampling (soxr HQ), so the work does not grow with them.

    Args:
        path: the file; one with a scheme (gs://, s3://) is read whole by `tf.io.gfile`.
        sample_rate: wanted rate in Hz.
        offset_s: where to begin, seconds.
        duration_s: how much to read, seconds; a file that ends up to `DURATION_SLACK_S` earlier gives what it has.
            Default: to the end.
        channel_selector: "average" or the number of one channel, counted from 0.

    Raises:
        UserError: the file is missing, unreadable, cut off, empty, shorter than asked, longer than `MAX_PART_S` (ask
            for parts), lacks the channel, or holds samples that are not numbers. One line that begins with the path.
    """
    path = os.fspath(path)
    if is_remote(path):
        return _load_remote(path, sample_rate, offset_s, duration_s, channel_selector)
    with _opened(path) as file:
        rate = file.samplerate
        promised = file.frames + missing_wav_frames(path)
        start = round(offset_s * rate)
        end = promised if duration_s is None else start + round(duration_s * rate)
        if end >= promised:
            refuse_wrong_length(path, file)
        if start and start >= promised:
            raise UserError(f"{path}: offset {offset_s:g} s lies behind its end at {promised / rate:.2f} s")
        if end > promised + DURATION_SLACK_S * rate:
            raise UserError(
                f"{path}: ends at {promised / rate:.2f} s, but {offset_s:g} s + {duration_s:g} s are asked for; "
                "correct offset and duration"
            )
        end = min(end, promised)
        if end - start > MAX_PART_S * rate:
            raise UserError(
                f"{path}: {(end - start) / rate / 3600:.1f} h are asked for in one piece, at most "
                f"{MAX_PART_S // 3600} h are read; cut it with offset and duration"
            )
        try:
            mono = _read_mono(path, file, start, end, channel_selector)
        except (soundfile.SoundFileError, OSError, MemoryError) as error:
            raise _unreadable(path, error) from None
    if len(mono) < end - start - HEADER_SLACK_S * rate:
        raise UserError(
            f"{path}: the file is cut off: sound up to {(start + len(mono)) / rate:.2f} s, "
            f"but its header promises {promised / rate:.2f} s; copy it again or remove its line"
        )
    if not np.isfinite(mono).all():
        raise UserError(f"{path}: holds samples that are not finite numbers (NaN or infinity); repair or remove it")
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    if not len(mono):
        raise UserError(f"{path}: holds no samples in the part that is asked for; remove its line")
    return np.ascontiguousarray(mono, np.float32)


def _load_remote(path: str, *arguments) -> np.ndarray:
    with in_memory(read_remote(path)) as name:
        try:
            return load_audio(name, *arguments)
        except UserError as error:
            raise UserError(str(error).replace(name, path)) from None


def audio_duration_s(path: str | os.PathLike) -> float:
    """The length in seconds that the file's header states.

    Raises:
        UserError: the file is missing or unreadable, is an Ogg file without its end, or an MP3 that holds more than its
            header states. A WAV, FLAC or MP3 that is cut off states what it lost; `load_audio` refuses it.
    """
    path = os.fspath(path)
    with _opened(path) as file:
        refuse_wrong_length(path, file)
        return (file.frames + missing_wav_frames(path)) / file.samplerate


def load_audio_in_graph(
    path: tf.Tensor,
    offset_s: tf.Tensor,
    duration_s: tf.Tensor,
    in_graph: tf.Tensor,
    sample_rate: int,
    channel_selector: ChannelSelector = "average",
) -> tf.Tensor:
    """`load_audio` for `tf.data`: the same samples, bit for bit, audio [S] tf.float32.

    Args:
        path: tf.string scalar.
        offset_s: scalar, float64 where sample-exact cuts in long files matter.
        duration_s: scalar; 0 or less: to the end.
        in_graph: tf.bool scalar, what `is_graph_decodable` said of this file: then tensorflow-io decodes it without
            Python. Otherwise libsndfile and soxr do, in a `tf.numpy_function`.
        sample_rate: wanted rate in Hz.
        channel_selector: "average" or the number of one channel.

    Raises:
        tf.errors.OpError: where `load_audio` raises UserError; `user_error_in` gives that back. Called eagerly, the
            UserError itself, but for a missing file that is decoded in the graph.
    """
    import tensorflow as tf

    offset_s = tf.cast(offset_s, tf.float64)
    duration_s = tf.cast(duration_s, tf.float64)
    tfio, _ = _tensorflow_io()

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
        # Whatever is amiss with the part that is asked for, load_audio says it.
        too_short = (start >= length) | (end <= start) | (end > length + int(DURATION_SLACK_S * sample_rate))
        return tf.cond(too_short, by_soundfile, lambda: part)

    def by_tfio() -> tf.Tensor:
        content = tf.io.read_file(path)
        # A file may have changed since is_graph_decodable saw it; tensorflow-io decodes a shorter one without a word.
        return tf.cond(_is_plain_wav(content, sample_rate), lambda: decoded_part(content), by_soundfile)

    if tfio is None or channel_selector not in ("average", 0):
        audio = by_soundfile()
    else:
        audio = tf.cond(in_graph, by_tfio, by_soundfile)
    audio.set_shape([None])
    return audio


def is_graph_decodable(path: str | os.PathLike, sample_rate: int) -> bool:
    """Whether tensorflow-io may decode it in the graph: a whole, plain 16-bit PCM mono WAV at `sample_rate`.

    Of at most a minute, for tensorflow-io reads whole files where libsndfile goes to the part that is asked for.

    Reads 44 bytes. False as well when the ops of tensorflow-io do not load, or the file cannot be read.
    """
    if _tensorflow_io()[0] is None:
        return False
    try:
        with open(path, "rb") as file:
            # Beside other chunks tensorflow-io fails, or gives wrong samples after one of odd size.
            size = os.fstat(file.fileno()).st_size
            longest = _HEADER_BYTES + 2 * sample_rate * _GRAPH_SECONDS
            return _HEADER_BYTES < size <= longest and file.read(_HEADER_BYTES) == plain_wav_header(size, sample_rate)
    except OSError:
        return False


def live_decoders() -> dict[str, str]:
    """What decodes each kind of file on this machine, for people to read."""
    libsndfile = f"soundfile {soundfile.__version__} (libsndfile {soundfile.__libsndfile_version__})"
    tfio, reason = _tensorflow_io()
    in_graph = f"tensorflow-io {tfio.__version__}, in the graph" if tfio else f"{libsndfile}; tensorflow-io: {reason}"
    formats = soundfile.available_formats()
    decoders = {"WAV, 16 bit mono at the model's rate": in_graph, "WAV, other": libsndfile}
    for name in ("FLAC", "OGG", "MP3"):
        decoders[name] = libsndfile if name in formats else "none: this libsndfile is too old; upgrade soundfile"
    decoders["resampling"] = f"soxr {soxr.__version__}, HQ"
    return decoders


def user_error_in(error: BaseException) -> UserError | None:
    """The UserError behind an error of the pipeline; None if there is none.

    A `tf.numpy_function` raised it and TensorFlow wrapped it in a `tf.errors.OpError`, or the graph itself could not
    read a file that has gone since `is_graph_decodable` saw it.
    """
    if isinstance(error, UserError):
        return error
    if found := re.search(rf"\b{UserError.__name__}: (.*)", str(error)):
        return UserError(found.group(1))
    import tensorflow as tf

    gone = tf.errors.NotFoundError, tf.errors.PermissionDeniedError, tf.errors.FailedPreconditionError
    if isinstance(error, gone):
        # "... iterator: Iterator::Root::Map: PATH; No such file or directory"
        if found := re.search(r"(?:^|: |\} )((?:(?!: ).)+); ([A-Z][a-z ]+)", str(error)):
            reason = _why_not_a_file(found.group(1)) or f"cannot be read ({found.group(2).strip().lower()})"
            return UserError(f"{found.group(1)}: {reason}")
    return None


@functools.cache
def _tensorflow_io() -> tuple[ModuleType | None, str]:
    """The package when its compiled ops work (else None), and why not."""
    import tensorflow as tf

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
    import tensorflow as tf

    expected = plain_wav_header(_HEADER_BYTES, sample_rate)
    length = tf.strings.length(content)

    def has_header() -> tf.Tensor:
        plain = tf.strings.substr(content, 8, 32) == expected[8:40]
        (data_bytes,) = tf.unstack(tf.io.decode_raw(tf.strings.substr(content, 40, 4), tf.int32), 1)
        return plain & (tf.strings.substr(content, 0, 4) == expected[:4]) & (data_bytes == length - _HEADER_BYTES)

    return tf.cond(length > _HEADER_BYTES, has_header, lambda: tf.constant(False))


def _why_not_a_file(path: str) -> str:
    """Why `path` cannot be opened as a file; "" if it can."""
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            with open(path, "rb"):
                return ""
        return "is a folder, not a sound file" if os.path.isdir(path) else "is not a regular file"
    except FileNotFoundError:
        return "no such file"
    except (OSError, ValueError) as error:
        return f"cannot be read ({str(getattr(error, 'strerror', error)).lower()})"


def _opened(path: str) -> soundfile.SoundFile:
    if reason := _why_not_a_file(path):
        raise UserError(f"{path}: {reason}")
    if not os.path.getsize(path):
        raise UserError(f"{path}: is empty (0 bytes); copy it again or remove its line")
    try:
        file = soundfile.SoundFile(path)
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        raise _unreadable(path, error) from None
    if file.frames > _MAX_FRAMES:
        file.close()
        raise UserError(f"{path}: its header does not say how long it is; write it anew with its length")
    return file


def _read_mono(
    path: str, file: soundfile.SoundFile, start: int, end: int, channel_selector: ChannelSelector
) -> np.ndarray:
    """Frames `start` to `end` of `file`, or as many as there are -> [S] float32 at the file's rate."""
    begin = min(start, file.frames)
    preroll = preroll_frames(path, file, begin)
    # soundfile seeks after every read, which some files do not bear; others go by blocks, so that many channels take
    # the memory of one.
    block = _MAX_FRAMES if file.format in ("MP3", "OGG") else _BLOCK_FRAMES
    if begin:
        file.seek(begin - preroll)
    parts = []
    for at in range(start, max(end, start + 1), block):
        wanted = min(block, end - at) + preroll
        audio = file.read(wanted, dtype="float32", always_2d=True)
        parts.append(_to_mono(path, audio[preroll:], channel_selector))
        if len(audio) < wanted:
            break
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _unreadable(path: str, error: Exception) -> UserError:
    reason = error.error_string if isinstance(error, soundfile.LibsndfileError) else str(error)
    reason = " ".join(reason.split()).rstrip(".").removeprefix("Error : ")
    if "lost sync" in reason:
        return UserError(f"{path}: the file is cut off or damaged ({reason}); copy it again or remove its line")
    if "not a regular file" in reason:
        reason = "no sound where its header says"
    return UserError(f"{path}: cannot be decoded ({reason}); convert it to WAV or FLAC, or remove its line")


def _to_mono(path: str, audio: np.ndarray, channel_selector: ChannelSelector) -> np.ndarray:
    """[S, channels] -> [S]."""
    channels = audio.shape[1]
    if channel_selector == "average":
        return audio.mean(axis=1) if channels > 1 else audio[:, 0]
    if isinstance(channel_selector, bool) or not isinstance(channel_selector, int):
        raise UserError(f'channel_selector: {channel_selector!r} is neither "average" nor the number of a channel')
    if not 0 <= channel_selector < channels:
        raise UserError(f"{path}: has {channels} channel{'s' * (channels > 1)}, no channel {channel_selector}")
    return audio[:, channel_selector]
