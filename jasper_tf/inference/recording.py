"""One recording, wherever it is stored, read in parts."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soxr

from jasper_tf.audio import silence
from jasper_tf.audio.load import ChannelSelector, audio_duration_s, load_audio, mix_down
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import AudioError, UserError
from jasper_tf.io.memory_file import in_memory
from jasper_tf.io.remote import is_remote


@dataclass(frozen=True)
class Recording:
    """A recording that is decoded on demand.

    Attributes:
        samples: their number at the rate it was opened with, according to the header; silence is counted.
        is_held: whether its samples are in memory.
        part: (start, end) -> those samples, audio [S] float32, silence included. Raises UserError.
        whole: all of it, trimmed if requested; does not rely on the header. Raises UserError.
    """

    samples: int
    is_held: bool
    part: Callable[[int, int], np.ndarray]
    whole: Callable[[], np.ndarray]


def is_one_recording(source: Any) -> bool:
    """Whether `source` is one recording, not an iterable of several."""
    return isinstance(source, (str, os.PathLike, Utterance)) or hasattr(source, "__array__") or hasattr(source, "read")


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
            uint8 is centered at 128 as in a WAV file); a file object, which is read to its end; an `Utterance`.
        sample_rate: wanted rate, Hz.
        source_rate: of an array, Hz. Default: `sample_rate`. Files state their own.
        channel_selector: "average" or the number of a channel.
        trim_silence: whether `whole` cuts off silence at both ends.

    Raises:
        UserError: it is missing, unreadable, empty, holds NaN, or is none of these.
    """
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if is_remote(path):
            return hold_samples(load_audio(path, sample_rate, channel_selector=channel_selector), trim_silence)
        source = Utterance(path, 0.0, audio_duration_s(path), "", path)
    if isinstance(source, Utterance):
        return _of_utterance(source, sample_rate, channel_selector, trim_silence)
    if hasattr(source, "__array__"):
        audio = _mono(np.asarray(source), sample_rate, source_rate or sample_rate, channel_selector)
    elif hasattr(source, "read"):
        audio = _load_file(source, sample_rate, channel_selector)
    else:
        raise UserError(f"{type(source).__name__} is not a recording; give a path, an array or an open binary file")
    return hold_samples(audio, trim_silence)


def hold_samples(audio: np.ndarray, trim_silence: bool = False) -> Recording:
    """Makes a Recording of samples in memory, audio [S] float32."""
    if trim_silence:
        audio = silence.trim_silence(audio)
    return Recording(len(audio), True, lambda start, end: audio[start:end], lambda: audio)


def _of_utterance(
    utterance: Utterance, sample_rate: int, channel_selector: ChannelSelector, trim_silence: bool
) -> Recording:
    def part(start: int, end: int) -> np.ndarray:
        if utterance.record is not None:  # it is short, and read whole
            return load_utterance(utterance, sample_rate, channel_selector)[start:end]
        offset_s, duration_s = utterance.offset_s + start / sample_rate, (end - start) / sample_rate
        part_of_it = replace(utterance, offset_s=offset_s, duration_s=duration_s)
        return load_utterance(part_of_it, sample_rate, channel_selector)

    def whole() -> np.ndarray:
        return load_utterance(utterance, sample_rate, channel_selector, trim_silence)

    return Recording(round(utterance.duration_s * sample_rate), False, part, whole)


def _load_file(file: Any, sample_rate: int, channel_selector: ChannelSelector) -> np.ndarray:
    name = str(getattr(file, "name", "the open file"))
    content = file.read()
    if not isinstance(content, bytes):
        raise UserError(f"{name}: gives {type(content).__name__}, not bytes; open it in binary mode ('rb')")
    with in_memory(content) as path:
        try:
            return load_audio(path, sample_rate, channel_selector=channel_selector)
        except AudioError as error:
            raise AudioError(name, error.kind, error.detail) from None


def _mono(audio: np.ndarray, sample_rate: int, source_rate: int, channel_selector: ChannelSelector) -> np.ndarray:
    """[S] or [S, channels] of any kind of number -> [S] float32, full scale 1, at `sample_rate`."""
    if audio.ndim not in (1, 2) or audio.dtype.kind not in "fiu":
        raise UserError(f"array {list(audio.shape)} of {audio.dtype}: give [S] or [S, channels], floats or integers")
    if not audio.size:
        raise UserError(f"array {list(audio.shape)}: holds no samples")
    if audio.ndim == 2 and audio.shape[1] > audio.shape[0]:
        raise UserError(f"array {list(audio.shape)}: more channels than samples; transpose it to [S, channels]")
    if audio.dtype.kind in "iu":
        full_scale = 2.0 ** (8 * audio.dtype.itemsize - 1)
        audio = audio.astype(np.float32) / full_scale - (1 if audio.dtype.kind == "u" else 0)
    given = f"array {list(audio.shape)}"
    mono = mix_down(given, audio if audio.ndim == 2 else audio[:, None], channel_selector).astype(np.float32)
    if not np.isfinite(mono).all():
        raise UserError(f"{given}: holds samples that are not finite numbers (NaN or infinity)")
    if source_rate != sample_rate:
        mono = soxr.resample(mono, source_rate, sample_rate, quality="HQ")
    return mono
