"""Reads audio files as mono float32 samples, by libsndfile (some containers: FFmpeg) and soxr."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
import soundfile
import soxr

from jasper_tf.audio.container_length import missing_bytes, missing_frames
from jasper_tf.audio.containers import may_be_mp3, missing_mp3_bytes, ogg_lacks_its_end, preroll_frames, validate_length
from jasper_tf.audio.media_file import MEDIA_SLACK_S, MediaFile, media_format
from jasper_tf.errors import AudioError, AudioErrorKind, UserError
from jasper_tf.io.file_access import OUT_OF_FILES, is_out_of_files, why_no_access
from jasper_tf.io.memory_file import in_memory
from jasper_tf.io.object_storage import StorageError, read_remote
from jasper_tf.io.remote import is_remote

ChannelSelector = Literal["average"] | int

MP3_SLACK_S = 0.05
"""An MP3 may end this much before its own header says, which counts the encoder's padding."""

DURATION_SLACK_S = 0.5
"""A file may end this much before offset + duration: manifests round to tenths or to whole seconds."""

MAX_PART_S = 2 * 3600
"""No more than this is read in one piece: 0.5 GB at 16 kHz."""

MAX_PART_SAMPLES = 2 * MAX_PART_S * 48_000
"""Nor more than this before it is mixed down and resampled, which takes 2.8 GB."""

LOWEST_RATE_HZ, HIGHEST_RATE_HZ = 1000, 384_000
"""Below, a small file becomes gigabytes at 16 kHz; above, no converter records."""

MAX_AMPLITUDE = 2.0**33
"""The largest float sample: unscaled 32-bit integers are below, and the power of 1e19 overflows float32."""

_MAX_FRAMES = 1 << 40
_SDS_START = re.compile(rb"\xf0\x7e.\x01", re.DOTALL)
_CUT_CODES = {"FLAC": (39, 158)}
"""libsndfile: "Internal psf_fseek() failed", "flac decoder lost sync": there is less than the header announces."""
_NO_SOUND_CODE = 7
"""libsndfile: "File does not exist or is not a regular file"; both were checked before."""
_SYSTEM_CODE = 2
"""libsndfile: "System error". Python has just opened the file, so too many are open; damage has codes of its own."""
_READ_WHOLE = ("MP3", "OGG")
_BLOCK_FRAMES = 1 << 20


def load_audio(
    path: str | os.PathLike,
    sample_rate: int = 16000,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    channel_selector: ChannelSelector = "average",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Reads an audio file -> mono audio [S] float32, full scale 1.

    WAV, FLAC, OGG, MP3 and whatever else libsndfile reads; M4A, MP4, MOV, WebM, MKV, WMA, AAC and AMR where PyAV is
    installed (the extra `formats`). The content decides, not the name. Only the asked part is decoded. Channels are
    mixed before resampling (soxr HQ), so the work does not grow with them.

    Args:
        path: the file; one with a scheme (gs://, s3://) is read whole from object storage.
        sample_rate: wanted rate in Hz.
        offset_s: where to begin, seconds.
        duration_s: how much to read, seconds; a file that ends up to `DURATION_SLACK_S` earlier gives what it has.
            Default: to the end.
        channel_selector: "average" or the number of one channel, counted from 0.
        out: memory [>= S] float32 that the samples may be decoded into, which saves a copy; the result then is a part
            of it, but need not be (resampling, several channels).

    Raises:
        AudioError: the file is missing, unreadable, cut off (as far as its format shows it: see `container_length` and
            `validate_length`), empty, shorter than asked, longer than `MAX_PART_S` or `MAX_PART_SAMPLES` (ask for
            parts), lacks the channel, has a rate below `LOWEST_RATE_HZ` or above `HIGHEST_RATE_HZ`, or holds samples
            that are NaN, infinite or beyond `MAX_AMPLITUDE`.
        UserError: channel_selector is neither "average" nor the number of a channel.
    """
    path = os.fspath(path)
    if is_remote(path):
        return _load_remote(path, sample_rate, offset_s, duration_s, channel_selector, out)
    with _enough_files(path), _opened(path) as file:
        rate = file.samplerate
        promised = file.frames + missing_frames(path, file)
        start = round(offset_s * rate)
        end = promised if duration_s is None else start + round(duration_s * rate)
        if end >= promised:
            validate_length(path, file)
        if start and start >= promised:
            raise AudioError(path, "outside", f"offset {offset_s:g} s is beyond its end at {promised / rate:.2f} s")
        if end > promised + DURATION_SLACK_S * rate:
            detail = f"ends at {promised / rate:.2f} s, but {offset_s:g} s + {duration_s:g} s are asked for"
            raise AudioError(path, "outside", f"{detail}; correct offset and duration")
        end = min(end, promised)
        # A file that is read in blocks takes the memory of the mono blocks and of their concatenation.
        held = file.channels if file.format in _READ_WHOLE else 2
        most_s = min(MAX_PART_S, MAX_PART_SAMPLES / held / rate)
        if end - start > most_s * rate:
            asked = f"{(end - start) / rate / 3600:.1f} h are asked for in one piece, at most {most_s / 3600:.2g} h"
            raise AudioError(path, "too_long", f"{asked} are read; cut it with offset and duration")
        try:
            mono = _read_mono(path, file, start, end, channel_selector, out)
        except (soundfile.SoundFileError, OSError, MemoryError) as error:
            raise _undecodable(path, error, file.format) from None
    slack_s = MEDIA_SLACK_S if isinstance(file, MediaFile) else MP3_SLACK_S if file.format == "MP3" else 0.0
    if len(mono) < end - start - slack_s * rate:
        detail = f"audio up to {(start + len(mono)) / rate:.2f} s, but its header promises {promised / rate:.2f} s"
        raise _cut(path, detail)
    if not file.subtype.startswith("PCM") and len(mono):
        validate_samples(path, mono)
    if rate != sample_rate:
        mono = soxr.resample(mono, rate, sample_rate, quality="HQ")
    if not len(mono):
        raise AudioError(path, "empty", "holds no samples in the part that is asked for; leave it out")
    return np.ascontiguousarray(mono, np.float32)


def _load_remote(path: str, *arguments) -> np.ndarray:
    try:
        content = read_remote(path)
    except StorageError as error:
        kind: AudioErrorKind = "missing" if error.kind == "missing" else "unreadable"
        raise AudioError(path, kind, f"cannot be read ({error.detail})") from None
    with in_memory(content) as name:
        try:
            return load_audio(name, *arguments)
        except AudioError as error:
            raise AudioError(path, error.kind, error.detail) from None


class AudioHeader(NamedTuple):
    """What the header of an audio file states.

    Args:
        duration_s: the length in seconds.
        channels: their number.
    """

    duration_s: float
    channels: int


def audio_duration_s(path: str | os.PathLike) -> float:
    """The length in seconds that the file's header states. Raises as `read_audio_header`."""
    return read_audio_header(path).duration_s


def read_audio_header(path: str | os.PathLike) -> AudioHeader:
    """Reads the header of an audio file on this machine.

    Raises:
        AudioError: the file is missing or unreadable, is an Ogg file without its end, an MP3 that ends inside a frame
            or holds more than its header states. Other cut files give the stated length; `load_audio` refuses them.
    """
    path = os.fspath(path)
    with _enough_files(path), _opened(path) as file:
        validate_length(path, file)
        return AudioHeader((file.frames + missing_frames(path, file)) / file.samplerate, file.channels)


@contextlib.contextmanager
def _enough_files(path: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if is_out_of_files(error):
            raise AudioError(path, "unreadable", OUT_OF_FILES) from None
        raise


def _opened(path: str) -> soundfile.SoundFile | MediaFile:
    # What is not a file is not opened: libsndfile would wait for a pipe.
    if wrong := why_no_access(path):
        raise AudioError(path, *wrong)
    # Before libsndfile: while it reads a damaged one, it prints to stdout.
    with open(path, "rb") as opened:
        head, size = opened.read(16), os.fstat(opened.fileno()).st_size
    if _SDS_START.match(head):
        detail = "is a MIDI sample dump (SDS), which is not read; convert it to WAV or FLAC"
        raise AudioError(path, "not_audio", detail)
    # Before libsndfile: libmpg123 would write a warning to stderr.
    if may_be_mp3(head) and (missing := missing_mp3_bytes(path)):
        raise _cut(path, f"{missing} of the bytes are missing that its header states")
    try:
        if not size:
            raise AudioError(path, "empty", "is empty (0 bytes); copy it again or leave it out")
        kind = media_format(head)
        file = MediaFile(path, kind) if kind else soundfile.SoundFile(path)
    except AudioError:
        raise
    except (soundfile.SoundFileError, OSError, TypeError, ValueError) as error:
        if getattr(error, "code", None) == _SYSTEM_CODE:
            raise AudioError(path, "unreadable", OUT_OF_FILES) from None
        raise _undecodable(path, error) from None
    wrong_rate = not LOWEST_RATE_HZ <= file.samplerate <= HIGHEST_RATE_HZ
    if wrong_rate or file.frames > _MAX_FRAMES:
        file.close()
    if wrong_rate:
        bounds = f"{LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz are read"
        raise AudioError(path, "rate", f"its header states {file.samplerate} Hz, {bounds}; correct or remove it")
    if file.frames > _MAX_FRAMES:
        raise AudioError(path, "too_long", "its header states no length; write it again with its length")
    return file


def _read_mono(
    path: str,
    file: soundfile.SoundFile | MediaFile,
    start: int,
    end: int,
    channel_selector: ChannelSelector,
    out: np.ndarray | None,
) -> np.ndarray:
    """Frames `start` to `end` of `file`, or as many as there are -> [S] float32 at the file's rate."""
    if isinstance(file, MediaFile):
        return _read_media(path, file, start, end, channel_selector)
    begin = min(start, file.frames)
    preroll = preroll_frames(path, file, begin)
    # soundfile seeks after every read, which fails in some files; others are read in blocks, so that many channels take
    # the memory of one.
    block = _MAX_FRAMES if file.format in _READ_WHOLE else _BLOCK_FRAMES
    if begin:
        file.seek(begin - preroll)
    if out is not None and file.channels == 1 and not preroll and start < end <= start + min(len(out), block):
        return mix_down(path, file.read(out=out[: end - start, None]), channel_selector)
    parts = []
    for at in range(start, max(end, start + 1), block):
        wanted = min(block, end - at) + preroll
        audio = file.read(wanted, dtype="float32", always_2d=True)
        parts.append(mix_down(path, audio[preroll:], channel_selector))
        if len(audio) < wanted:
            break
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def _read_media(path: str, file: MediaFile, start: int, end: int, channel_selector: ChannelSelector) -> np.ndarray:
    mono = np.zeros(end - start, np.float32)
    filled = 0
    for at, block in file.blocks(start, end):
        first, last = max(at, start), min(at + len(block), end)
        if first < last:
            mono[first - start : last - start] = mix_down(path, block[first - at : last - at], channel_selector)
            filled = last - start
    return mono[:filled]


def validate_samples(path: str, mono: np.ndarray) -> None:
    """Refuses audio [S], of `path`, with NaN, infinite or impossibly large samples.

    Raises:
        AudioError: of kind "values".
    """
    peak = max(mono.max(), -mono.min())  # NaN if one of them is
    if not np.isfinite(peak):
        detail = "holds samples that are not finite numbers (NaN or infinity); repair or remove it"
        raise AudioError(path, "values", detail)
    if peak > MAX_AMPLITUDE:
        raise AudioError(path, "values", f"holds samples of {peak:.1e}, full scale is 1; scale or remove it")


def _cut(path: str, how: str) -> AudioError:
    return AudioError(path, "cut", f"the file is cut off: {how}; copy it again or leave it out")


def _undecodable(path: str, error: Exception, container: str = "") -> AudioError:
    if is_out_of_files(error):
        return AudioError(path, "unreadable", OUT_OF_FILES)
    if missing := missing_bytes(path):
        return _cut(path, f"{missing} of the bytes are missing that its header states")
    if ogg_lacks_its_end(path):
        return _cut(path, "the Ogg stream goes on")
    reason, code = str(error), 0
    if isinstance(error, soundfile.LibsndfileError):
        reason, code = error.error_string, error.code
    reason = " ".join(reason.split()).rstrip(".").removeprefix("Error : ")
    if code in _CUT_CODES.get(container, ()):
        detail = f"the file is cut off or damaged ({reason}); copy it again or leave it out"
        return AudioError(path, "cut", detail)
    if code == _NO_SOUND_CODE:
        reason = "no audio where its header says"
    return AudioError(path, "not_audio", f"cannot be decoded ({reason}); convert it to WAV or FLAC, or leave it out")


def mix_down(path: str, audio: np.ndarray, channel_selector: ChannelSelector) -> np.ndarray:
    """audio [S, channels] -> [S]: the mean of the channels, or one of them.

    Raises:
        AudioError: it lacks the channel.
        UserError: channel_selector is neither "average" nor the number of a channel.
    """
    channels = audio.shape[1]
    if channel_selector == "average":
        with np.errstate(over="ignore"):  # infinity is refused
            return audio.mean(axis=1) if channels > 1 else audio[:, 0]
    if isinstance(channel_selector, bool) or not isinstance(channel_selector, int):
        raise UserError(f'channel_selector: {channel_selector!r} is neither "average" nor the number of a channel')
    if not 0 <= channel_selector < channels:
        detail = f"has {channels} channel{'s' * (channels > 1)}, no channel {channel_selector}"
        raise AudioError(path, "channel", detail)
    return audio[:, channel_selector]
