"""Base class of the perturbations of `augmentor`."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from jasper_tf.config.sections.augment_schema import PerturbationConfig


class Perturbation(ABC):
    """A change of the audio that keeps its length.

    Args:
        config: its section of `augmentor`.
        key: the full name of that section, for errors.
        sample_rate: of the audio, Hz.

    Attributes:
        STREAM: the number of its sequence of random draws; perturbations of one number share the sequence.
    """

    STREAM: ClassVar[int]

    def __init__(self, config: PerturbationConfig, key: str, sample_rate: int):
        self.config = config
        self.sample_rate = sample_rate

    @abstractmethod
    def __call__(self, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        """audio [S] float32, full scale 1 -> [S] float32; `audio` is not written to. The draws do not depend on it."""
