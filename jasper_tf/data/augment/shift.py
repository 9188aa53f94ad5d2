"""Shift: moves the audio within its length."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jasper_tf.data.augment.perturbation import Perturbation


@dataclass
class Shift(Perturbation):
    """Moves the sound by a time uniform in [min, max], zeros behind it (NeMo `shift`).

    Above 0 it comes earlier, below 0 later, as in NeMo; what goes over the edge is lost, so shifts are to stay below
    the silence at the ends. A shift that is longer than the sound leaves it as it is.
    """

    min_shift_ms: float = -5.0
    max_shift_ms: float = 5.0

    STREAM: ClassVar[int] = 2
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {"min_shift_ms": (-1e6, 1e6), "max_shift_ms": (-1e6, 1e6)}
    RANGE: ClassVar[tuple[str, str] | None] = ("min_shift_ms", "max_shift_ms")

    def __call__(self, audio: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
        shift = int(self.drawn(generator) * sample_rate // 1000)
        if abs(shift) >= len(audio):
            return audio
        moved = np.zeros_like(audio)
        if shift >= 0:
            moved[: len(audio) - shift] = audio[shift:]
        else:
            moved[-shift:] = audio[:shift]
        return moved
