"""Speed: changes tempo and pitch together, by resampling."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import soxr

from jasper_tf.data.augment.perturbation import AugmentorError, Perturbation


@dataclass
class Speed(Perturbation):
    """Resampling to `rate` times the tempo and the pitch (Ko et al. 2015; NeMo `speed`).

    Attributes:
        min_speed_rate, max_speed_rate: 1 is unchanged, 1.1 a tenth faster.
        num_rates: above 0, so many rates equally far apart, both ends among them (3 from 0.9 to 1.1: 0.9, 1.0, 1.1);
            else any rate between. NeMo: 5 when left out; here any rate.
    """

    min_speed_rate: float = 0.9
    max_speed_rate: float = 1.1
    num_rates: int = -1

    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        "min_speed_rate": (0.1, 10),
        "max_speed_rate": (0.1, 10),
        "num_rates": (-1, 1000),
    }
    RANGE: ClassVar[tuple[str, str] | None] = ("min_speed_rate", "max_speed_rate")
    IGNORED: ClassVar[frozenset[str]] = frozenset({"rng", "sr", "resample_type"})

    def check(self, name: str, sample_rate: int) -> None:
        low, high = self.min_speed_rate, self.max_speed_rate
        if self.num_rates == 1 and low != high:
            raise AugmentorError([name, "num_rates"], f"1 rate cannot reach from {low} to {high}; take 2 or more")

    def rates(self, seed: int, epoch: int, utterances: int) -> np.ndarray:
        """[N] float64, the speed of each utterance in `epoch`."""
        generator = np.random.default_rng((seed, epoch, utterances))
        chosen = generator.random(utterances) < self.prob
        if self.num_rates > 0:
            steps = np.linspace(self.min_speed_rate, self.max_speed_rate, self.num_rates)
            rates = steps[(generator.random(utterances) * self.num_rates).astype(np.int64)]
            rates[np.isclose(rates, 1, rtol=0, atol=1e-9)] = 1.0
        else:
            rates = generator.uniform(self.min_speed_rate, self.max_speed_rate, utterances)
        return np.where(chosen, rates, 1.0)

    def __call__(self, audio: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
        raise NotImplementedError("the rates are drawn for a whole epoch, as batches are planned on them: see `rates`")


def change_speed(audio: np.ndarray, rate: float) -> np.ndarray:
    """audio [S] -> [ceil(S / rate)], the same bit for bit when `rate` is 1."""
    if rate == 1.0:
        return audio
    return fit_length(soxr.resample(audio, rate, 1.0, quality="HQ"), int(sped_length(len(audio), rate)))


def sped_length(samples: int | np.ndarray, rate: float | np.ndarray) -> np.ndarray:
    """Samples of recordings after speed `rate`."""
    return np.ceil(np.asarray(samples) / rate).astype(np.int64)


def fit_length(audio: np.ndarray, samples: int) -> np.ndarray:
    """audio [S] cut, or filled with zeros, to `samples`."""
    return np.pad(audio[:samples], (0, max(0, samples - len(audio))))
