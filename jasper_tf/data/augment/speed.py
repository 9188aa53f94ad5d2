"""Speed: changes tempo and pitch together, by resampling."""

from __future__ import annotations

import numpy as np
import soxr

from jasper_tf.config.sections.augment_schema import SpeedConfig


def speed_range(speed: SpeedConfig | None) -> tuple[float, float]:
    """The lowest and the highest rate that an utterance may get; 1, unchanged, is between them."""
    return (min(1.0, speed.min_speed_rate), max(1.0, speed.max_speed_rate)) if speed else (1.0, 1.0)


def draw_speed_rates(speed: SpeedConfig | None, seed: int, epoch: int, utterances: int) -> np.ndarray:
    """[utterances] float64, the rate of each utterance in `epoch`; 1 is unchanged. A function of the arguments only."""
    if speed is None:
        return np.ones(utterances)
    generator = np.random.default_rng((seed, epoch, utterances))
    chosen = generator.random(utterances) < speed.prob
    if speed.num_rates > 0:
        steps = np.linspace(speed.min_speed_rate, speed.max_speed_rate, speed.num_rates)
        rates = steps[(generator.random(utterances) * speed.num_rates).astype(np.int64)]
        rates[np.isclose(rates, 1, rtol=0, atol=1e-9)] = 1.0
    else:
        rates = generator.uniform(speed.min_speed_rate, speed.max_speed_rate, utterances)
    return np.where(chosen, rates, 1.0)


def change_speed(audio: np.ndarray, rate: float) -> np.ndarray:
    """audio [S] -> [ceil(S / rate)]; unchanged bit for bit at rate 1."""
    if rate == 1.0:
        return audio
    return fit_length(soxr.resample(audio, rate, 1.0, quality="HQ"), int(sped_length(len(audio), rate)))


def sped_length(samples: int | np.ndarray, rate: float | np.ndarray) -> np.ndarray:
    """The number of samples after a change of speed by `rate`."""
    return np.ceil(np.asarray(samples) / rate).astype(np.int64)


def fit_length(audio: np.ndarray, samples: int) -> np.ndarray:
    """audio [S] cut or zero-padded to `samples`."""
    return np.pad(audio[:samples], (0, max(0, samples - len(audio))))
