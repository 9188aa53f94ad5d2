"""Shift: moves the audio within its length."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from jasper_tf.config.sections.augment_schema import ShiftConfig
from jasper_tf.data.augment.perturbation import Perturbation


class Shift(Perturbation):
    """Moves the audio by a time uniform in [min, max] and fills up with zeros (NeMo `shift`).

    Above 0 it comes earlier, below 0 later, as in NeMo; what moves over the edge is lost, so shifts should be shorter
    than the silence at the ends. A shift that is longer than the audio leaves it unchanged.
    """

    config: ShiftConfig
    STREAM: ClassVar[int] = 2

    def __call__(self, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        shift_ms = generator.uniform(self.config.min_shift_ms, self.config.max_shift_ms)
        shift = int(shift_ms * self.sample_rate // 1000)
        if abs(shift) >= len(audio):
            return audio
        moved = np.zeros_like(audio)
        if shift >= 0:
            moved[: len(audio) - shift] = audio[shift:]
        else:
            moved[-shift:] = audio[:shift]
        return moved
