"""One recording, wherever it is stored, read in parts."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soxr

from jasper_tf.audio import silence
from jasper_tf.audio.load import (
    HIGHEST_RATE_HZ,
    LOWEST_RATE_HZ,
    ChannelSelector,
    load_audio,
    mix_down,
    read_audio_header,
    validate_samples,
)
from jasper_tf.audio.pcm import PCM_TYPES, to_float
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import AudioError, UserError, one_line, shorten
from jasper_tf.io.memory_file import in_memory
from jasper_tf.io.remote import is_remote

MAX_FILE_BYTES = 1 << 31
"""No more is read from an open file, which is held in memory; of a path only the parts that are recognized are."""

_BLOCK_BYTES = 1 << 20
_GIVE = "give a path, an array, an open binary file, or a list of them"


@dataclass(frozen=True)
class Recording:
    """A recording that is decoded on demand.

    Attributes:
        samples: their number at the rate it was opened with, according to the header; silence is counted.
        is_held: whether its samples are in memory.
        channels: that are mixed down; 1 where that has been done, or no header says it.
        part: (start, end) -> those samples, audio [S] float32, silence included. Raises UserError.
        whole: all of it, trimmed if requested; does not rely on the header. Raises UserError.
    """

    samples: int
    is_held: bool
    part: Callable[[int, int], np.ndarray]
    whole: Callable[[], np.ndarray]
    channels: int = 1


def is_one_recording(source: Any) -> bool:
    """Whether `source` is one recording, not an iterable of several.

    Raises:
        UserError: it is neither.
    """
    if isinstance(source, (str, bytes, bytearray, os.PathLike, Utterance)):
        return True
    if hasattr(source, "__array__") or hasattr(source, "read"):
        return True
    if isinstance(source, Mapping) or not isinstance(source, Iterable):
        raise UserError(f"{type(source).__name__} is not a recording; {_GIVE}")
    return False


def open_recording(
    source: Any,
    sample_rate: int,
    source_rate: int | None = None,
    channel_selector: ChannelSelector = "average",
    trim_silence: bool = False,
) -> Recording:
    """Opens a path, array, open binary file or utterance of a manifest as a Recording at `sample_rate`.

    Of files on disk only the header is read.

    Args:
        source: a path; an array [S] or [S, channels], floats of full scale 1 or integer PCM (int16: full scale 32768;
            uint8 is centered at 128 as in a WAV file), or a tensor; a file object, which is read to its end, or the
            bytes of a file; an `Utterance`.
        sample_rate: wanted rate, Hz.
        source_rate: of an array, Hz, which is resampled. Default: `sample_rate`. Files state their own.
        channel_selector: "average" or the number of a channel.
        trim_silence: whether `whole` cuts off silence at both ends.

    Raises:
        UserError: it is missing, unreadable, empty, holds NaN, or is none of these; the rate is impossible.
    """
    given_hz = sample_rate if source_rate is None else _validate_rate(source_rate)
    if isinstance(source, (bytes, bytearray)):
        source = io.BytesIO(source)
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if is_remote(path):
            return hold_samples(load_audio(path, sample_rate, channel_selector=channel_selector), trim_silence)
        header = read_audio_header(path)
        whole = Utterance(path, 0.0, header.duration_s, "", path)
        return _of_utterance(whole, sample_rate, channel_selector, trim_silence, header.channels)
    if isinstance(source, Utterance):
        return _of_utterance(source, sample_rate, channel_selector, trim_silence)
    if hasattr(source, "__array__"):
        audio = _of_array(source, sample_rate, given_hz, channel_selector)
    elif hasattr(source, "read"):
        audio = _load_file(source, sample_rate, channel_selector)
    else:
        raise UserError(f"{type(source).__name__} is not a recording; {_GIVE}")
    return hold_samples(audio, trim_silence)


def hold_samples(audio: np.ndarray, trim_silence: bool = False) -> Recording:
    """Makes a Recording of samples in memory, audio [S] float32."""
    if trim_silence:
        audio = silence.trim_silence(audio)
    return Recording(len(audio), True, lambda start, end: audio[start:end], lambda: audio)


def _of_utterance(
    utterance: Utterance, sample_rate: int, channel_selector: ChannelSelector, trim_silence: bool, channels: int = 1
) -> Recording:
    def part(start: int, end: int) -> np.ndarray:
        if utterance.record is not None:  # it is short, and read whole
            return load_utterance(utterance, sample_rate, channel_selector)[start:end]
        offset_s, duration_s = utterance.offset_s + start / sample_rate, (end - start) / sample_rate
        part_of_it = replace(utterance, offset_s=offset_s, duration_s=duration_s)
        return load_utterance(part_of_it, sample_rate, channel_selector)

    def whole() -> np.ndarray:
        return load_utterance(utterance, sample_rate, channel_selector, trim_silence)

    return Recording(round(utterance.duration_s * sample_rate), False, part, whole, channels)


def _load_file(file: Any, sample_rate: int, channel_selector: ChannelSelector) -> np.ndarray:
    name = str(getattr(file, "name", "the open file"))
    with in_memory(_read_all(file, name)) as path:
        try:
            return load_audio(path, sample_rate, channel_selector=channel_selector)
        except AudioError as error:
            raise AudioError(name, error.kind, error.detail) from None


def _read_all(file: Any, name: str) -> bytes:
    content = bytearray()
    try:
        while part := file.read(_BLOCK_BYTES):
            if not isinstance(part, bytes):
                raise UserError(f"{name}: gives {type(part).__name__}, not bytes; open it in binary mode ('rb')")
            content += part
            if len(content) > MAX_FILE_BYTES:
                raise UserError(f"{name}: more than {MAX_FILE_BYTES:,} bytes; give the file's path instead")
    except UserError:
        raise
    except (OSError, ValueError) as error:  # ValueError: it is closed
        raise UserError(f"{name}: cannot be read ({one_line(error)})") from None
    return bytes(content)


def _of_array(source: Any, sample_rate: int, source_rate: float, channel_selector: ChannelSelector) -> np.ndarray:
    """An array or tensor [S] or [S, channels] -> [S] float32, full scale 1, at `sample_rate`."""
    try:
        audio = np.asarray(source)
    except Exception as error:  # of a symbolic or a deleted tensor: each library has its own
        raise UserError(f"{type(source).__name__}: holds no numbers ({one_line(error)}); give an array") from None
    given = f"array {list(audio.shape)} of {audio.dtype}"
    if audio.dtype.kind != "f" and audio.dtype.name not in PCM_TYPES:
        raise UserError(f"{given}: is not audio; give floats of full scale 1, or PCM: {', '.join(PCM_TYPES)}")
    if audio.ndim not in (1, 2):
        raise UserError(f"{given}: give [S] or [S, channels], and several recordings as a list")
    if not audio.size:
        raise UserError(f"{given}: holds no samples")
    if audio.ndim == 2 and audio.shape[1] > audio.shape[0]:
        hint = "transpose it to [S, channels], or give several recordings as a list"
        raise UserError(f"{given}: more channels than samples; {hint}")
    audio = to_float(audio if audio.ndim == 2 else audio[:, None])
    mono = np.ascontiguousarray(mix_down(given, audio, channel_selector))
    validate_samples(given, mono)
    if source_rate != sample_rate:
        mono = soxr.resample(mono, source_rate, sample_rate, quality="HQ")
        if not len(mono):
            raise UserError(f"{given}: holds no samples at {sample_rate} Hz")
    return mono


def _validate_rate(rate: Any) -> float:
    if not isinstance(rate, (int, float, np.integer, np.floating)) or isinstance(rate, bool):
        raise UserError(f"sample_rate {shorten(rate, 60)}: must be a number of hertz")
    if not LOWEST_RATE_HZ <= rate <= HIGHEST_RATE_HZ:
        raise UserError(f"sample_rate {rate:g}: must be from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz")
    return float(rate)
