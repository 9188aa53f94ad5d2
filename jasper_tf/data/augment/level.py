"""Gain and white noise."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from jasper_tf.config.sections.augment_schema import GainConfig, WhiteNoiseConfig
from jasper_tf.data.augment.perturbation import Perturbation


class Gain(Perturbation):
    """Changes the level by a gain uniform in decibels (NeMo `gain`)."""

    config: GainConfig
    STREAM: ClassVar[int] = 1

    def __call__(self, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        gain_db = generator.uniform(self.config.min_gain_dbfs, self.config.max_gain_dbfs)
        return audio * np.float32(10 ** (gain_db / 20))


class WhiteNoise(Perturbation):
    """Adds Gaussian noise, its level uniform in decibels of full scale (NeMo `white_noise`)."""

    config: WhiteNoiseConfig
    STREAM: ClassVar[int] = 1

    def __call__(self, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        level_db = generator.uniform(self.config.min_level, self.config.max_level)
        return audio + np.float32(10 ** (level_db / 20)) * generator.standard_normal(len(audio), np.float32)
