"""Gain and white noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from jasper_tf.data.augment.perturbation import Perturbation


@dataclass
class Gain(Perturbation):
    """Level change, uniform in decibels (NeMo `gain`)."""

    min_gain_dbfs: float = -10.0
    max_gain_dbfs: float = 10.0

    STREAM: ClassVar[int] = 1
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {"min_gain_dbfs": (-300, 300), "max_gain_dbfs": (-300, 300)}
    RANGE: ClassVar[tuple[str, str] | None] = ("min_gain_dbfs", "max_gain_dbfs")

    def __call__(self, audio: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
        return audio * np.float32(10 ** (self.drawn(generator) / 20))


@dataclass
class WhiteNoise(Perturbation):
    """Gaussian noise, its level uniform in decibels of full scale (NeMo `white_noise`)."""

    min_level: float = -90.0
    max_level: float = -46.0

    STREAM: ClassVar[int] = 1
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {"min_level": (-300, 0), "max_level": (-300, 0)}
    RANGE: ClassVar[tuple[str, str] | None] = ("min_level", "max_level")

    def __call__(self, audio: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
        level = 10 ** (self.drawn(generator) / 20)
        return audio + np.float32(level) * generator.standard_normal(len(audio), np.float32)
