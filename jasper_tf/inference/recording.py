"""One recording, wherever it is, as something that can be read in pieces."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import soxr

from jasper_tf.audio.load import audio_duration_s, load_audio
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError
from jasper_tf.io.memory_file import in_memory
from jasper_tf.io.remote import is_remote


@dataclass(frozen=True)
class Recording:
    """Sound that is decoded when it is asked for.

    samples: how many, at the rate it was opened with, as the header states.
    is_held: whether its samples are in memory.
    part: (start, end) -> those samples, audio [S] float32. Raises UserError.
    whole: all of it, without relying on the header.
    """

    samples: int
    is_held: bool
    part: Callable[[int, int], np.ndarray]
    whole: Callable[[], np.ndarray]


def is_one_recording(source: Any) -> bool:
    """Whether `source` is one recording, not an iterable of several."""
    return isinstance(source, (str, os.PathLike, Utterance)) or hasattr(source, "__array__") or hasattr(source, "read")


def open_recording(source: Any, sample_rate: int, source_rate: int | None = None) -> Recording:
    """A path, array, open binary file, or manifest's utterance -> a Recording at `sample_rate`.

    Of files on disk only the header is read.

    Args:
        source: a path; an array [S] or [S, channels], floats of full scale 1 or integer PCM (int16: full scale 32768;
            uint8 is centered at 128 as in a WAV); a file object, which is read to its end; an `Utterance`.
        sample_rate: wanted rate, Hz.
        source_rate: of an array, Hz. Default: `sample_rate`. Files state their own.

    Raises:
        UserError: it is missing, unreadable, empty, holds NaN, or is none of these.
    """
    if isinstance(source, Utterance):
        return _of_utterance(source, sample_rate)
    if isinstance(source, (str, os.PathLike)):
        path = os.fspath(source)
        if is_remote(path):
            return _of_samples(load_audio(path, sample_rate))
        return Recording(
            round(audio_duration_s(path) * sample_rate),
            False,
            lambda start, end: load_audio(path, sample_rate, start / sample_rate, (end - start) / sample_rate),
            lambda: load_audio(path, sample_rate),
        )
    if hasattr(source, "__array__"):
        return _of_samples(_mono(np.asarray(source), sample_rate, source_rate or sample_rate))
    if hasattr(source, "read"):
        return _of_samples(_load_file(source, sample_rate))
    raise UserError(f"{type(source).__name__} is not a recording; give a path, an array or an open binary file")


def _of_samples(audio: np.ndarray) -> Recording:
    return Recording(len(audio), True, lambda start, end: audio[start:end], lambda: audio)


def _of_utterance(utterance: Utterance, sample_rate: int) -> Recording:
    # It imports TensorFlow, which a client of a server need not wait for.
    from jasper_tf.data.storage.utterance_audio import load_utterance

    def part(start: int, end: int) -> np.ndarray:
        if utterance.record is not None:  # a shard's record is read whole, and short
            return load_utterance(utterance, sample_rate)[start:end]
        offset_s, duration_s = utterance.offset_s + start / sample_rate, (end - start) / sample_rate
        return load_utterance(replace(utterance, offset_s=offset_s, duration_s=duration_s), sample_rate)

    samples = round(utterance.duration_s * sample_rate)
    return Recording(samples, False, part, lambda: load_utterance(utterance, sample_rate))


def _load_file(file: Any, sample_rate: int) -> np.ndarray:
    name = str(getattr(file, "name", "the open file"))
    content = file.read()
    if not isinstance(content, bytes):
        raise UserError(f"{name}: gives {type(content).__name__}, not bytes; open it in binary mode ('rb')")
    with in_memory(content) as path:
        try:
            return load_audio(path, sample_rate)
        except UserError as error:
            raise UserError(str(error).replace(path, name)) from None


def _mono(audio: np.ndarray, sample_rate: int, source_rate: int) -> np.ndarray:
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
    mono = audio.astype(np.float32) if audio.ndim == 1 else audio.mean(axis=1, dtype=np.float64).astype(np.float32)
    if not np.isfinite(mono).all():
        raise UserError(f"array {list(audio.shape)}: holds samples that are not finite numbers (NaN or infinity)")
    if source_rate != sample_rate:
        mono = soxr.resample(mono, source_rate, sample_rate, quality="HQ")
    return mono
