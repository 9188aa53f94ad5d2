"""Sound files to mono float32 samples, by libsndfile and soxr."""

from __future__ import annotations

import os
import re
import stat
from typing import Literal

import numpy as np
import soundfile
import soxr

from jasper_tf.audio.containers import missing_wav_frames, preroll_frames, refuse_wrong_length
from jasper_tf.data.manifest.line import is_remote
from jasper_tf.errors import UserError
from jasper_tf.io.memory_file import in_memory, read_remote

ChannelSelector = Literal["average"] | int

HEADER_SLACK_S = 0.05
"""A file may end this much before its own header says: MP3 headers count the encoder's padding."""

DURATION_SLACK_S = 0.5
"""A file may end this much before offset + duration: manifests round to tenths or to whole seconds."""

MAX_PART_S = 2 * 3600
"""No more than this is read in one piece: 0.5 GB at 16 kHz."""

_MAX_FRAMES = 1 << 40
_BLOCK_FRAMES = 1 << 20


def load_audio(
    path: str | os.PathLike,
    sample_rate: int = 16000,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    channel_selector: ChannelSelector = "average",
    out: np.ndarray | None = None,
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
        out: memory [>= S] float32 that the samples may be decoded into, which saves a copy; the result then is a part
            of it, but need not be (resampling, several channels).

    Raises:
        UserError: the file is missing, unreadable, cut off, empty, shorter than asked, longer than `MAX_PART_S` (ask
            for parts), lacks the channel, or holds samples that are not numbers. One line that begins with the path.
    """
    path = os.fspath(path)
    if is_remote(path):
        return _load_remote(path, sample_rate, offset_s, duration_s, channel_selector, out)
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
            mono = _read_mono(path, file, start, end, channel_selector, out)
        except (soundfile.SoundFileError, OSError, MemoryError) as error:
            raise _unreadable(path, error) from None
    if len(mono) < end - start - HEADER_SLACK_S * rate:
        raise UserError(
            f"{path}: the file is cut off: sound up to {(start + len(mono)) / rate:.2f} s, "
            f"but its header promises {promised / rate:.2f} s; copy it again or remove its line"
        )
    if not file.subtype.startswith("PCM") and not np.isfinite(mono).all():
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
    try:
        found = os.stat(path)
        # What is no file is not opened: libsndfile would wait for a pipe.
        file = soundfile.SoundFile(path) if stat.S_ISREG(found.st_mode) and found.st_size else None
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        reason = _why_not_a_file(path)
        raise (UserError(f"{path}: {reason}") if reason else _unreadable(path, error)) from None
    if file is None:
        reason = _why_not_a_file(path) or "is empty (0 bytes); copy it again or remove its line"
        raise UserError(f"{path}: {reason}")
    if file.frames > _MAX_FRAMES:
        file.close()
        raise UserError(f"{path}: its header does not say how long it is; write it anew with its length")
    return file


def _read_mono(
    path: str,
    file: soundfile.SoundFile,
    start: int,
    end: int,
    channel_selector: ChannelSelector,
    out: np.ndarray | None,
) -> np.ndarray:
    """Frames `start` to `end` of `file`, or as many as there are -> [S] float32 at the file's rate."""
    begin = min(start, file.frames)
    preroll = preroll_frames(path, file, begin)
    # soundfile seeks after every read, which some files do not bear; others go by blocks, so that many channels take
    # the memory of one.
    block = _MAX_FRAMES if file.format in ("MP3", "OGG") else _BLOCK_FRAMES
    if begin:
        file.seek(begin - preroll)
    if out is not None and file.channels == 1 and not preroll and start < end <= start + min(len(out), block):
        return _to_mono(path, file.read(out=out[: end - start, None]), channel_selector)
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
