"""Augmentation of the sound itself, before features: speed, gain, white noise."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import soxr

from jasper_tf.errors import UserError


@dataclass(frozen=True)
class Speed:
    """Resampling: tempo and pitch together (Ko et al. 2015; NeMo `speed`). Rates uniform in [min, max]."""

    prob: float = 0.5
    min_speed_rate: float = 0.9
    max_speed_rate: float = 1.1


@dataclass(frozen=True)
class Gain:
    """Level change, uniform in decibels (NeMo `gain`)."""

    prob: float = 0.5
    min_gain_dbfs: float = -10.0
    max_gain_dbfs: float = 10.0


@dataclass(frozen=True)
class WhiteNoise:
    """Gaussian noise, its level uniform in decibels of full scale (NeMo `white_noise`)."""

    prob: float = 0.5
    min_level: float = -90.0
    max_level: float = -46.0


_KINDS: dict[str, Any] = {"speed": Speed, "gain": Gain, "white_noise": WhiteNoise}
_IGNORED = {"sr", "resample_type"}
"""NeMo's `speed` demands them; they steer its resampler."""


class AudioAugmentor:
    """NeMo's `train_ds.augmentor`: each named perturbation with its probability, in the order speed, gain, noise.

    Every draw is a pure function of (seed, epoch, utterance): the same after a resume, whatever the batches.

    Args:
        spec: for example `{"speed": {"prob": 0.7, "min_speed_rate": 0.9, "max_speed_rate": 1.1}}`.
        seed: of all draws.

    Raises:
        UserError: an unknown perturbation or key, a value that is no number, or a range upside down.
    """

    def __init__(self, spec: Mapping[str, Any], seed: int = 0):
        self.seed = seed
        self.kinds: dict[str, Any] = {}
        for name, values in spec.items():
            if name not in _KINDS:
                raise UserError(f"augmentor.{name}: unknown perturbation; known are {', '.join(_KINDS)}")
            known = [f.name for f in fields(_KINDS[name])]
            if not isinstance(values, Mapping | None):
                raise UserError(f"augmentor.{name}: {values!r} is not a mapping; its keys are {', '.join(known)}")
            chosen = {key: value for key, value in (values or {}).items() if key not in _IGNORED}
            for key, value in chosen.items():
                if key not in known:
                    raise UserError(f"augmentor.{name}.{key}: unknown key; known are {', '.join(known)}")
                if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
                    raise UserError(f"augmentor.{name}.{key}: {value!r} is not a number")
            kind = _KINDS[name](**chosen)
            low, high = (getattr(kind, key) for key in known[1:])
            if low > high or not 0 <= kind.prob <= 1 or (name == "speed" and low <= 0):
                raise UserError(f"augmentor.{name}: needs 0 <= prob <= 1 and min <= max (speed above 0), got {kind}")
            self.kinds[name] = kind

    @property
    def speeds(self) -> tuple[float, float]:
        """The lowest and the highest speed rate that may be drawn."""
        speed = self.kinds.get("speed")
        return (min(1.0, speed.min_speed_rate), max(1.0, speed.max_speed_rate)) if speed else (1.0, 1.0)

    def speed_rates(self, epoch: int, utterances: int) -> np.ndarray:
        """[N] float64, the speed of each utterance in `epoch`; 1 is unchanged."""
        speed = self.kinds.get("speed")
        if speed is None:
            return np.ones(utterances)
        generator = np.random.default_rng((self.seed, epoch, utterances))
        chosen = generator.random(utterances) < speed.prob
        rates = generator.uniform(speed.min_speed_rate, speed.max_speed_rate, utterances)
        return np.where(chosen, rates, 1.0)

    def __call__(self, audio: np.ndarray, rate: float, epoch: int, index: int) -> np.ndarray:
        """Utterance number `index` in `epoch`: audio [S] float32 -> [ceil(S / rate)] float32.

        `rate` is what `speed_rates` drew for it.
        """
        if rate != 1.0:
            audio = fit_length(soxr.resample(audio, rate, 1.0, quality="HQ"), int(sped_length(len(audio), rate)))
        generator = np.random.default_rng((self.seed, epoch, index, 1))
        gain, noise = self.kinds.get("gain"), self.kinds.get("white_noise")
        if gain and generator.random() < gain.prob:
            audio = audio * np.float32(10 ** (generator.uniform(gain.min_gain_dbfs, gain.max_gain_dbfs) / 20))
        if noise and generator.random() < noise.prob:
            level = 10 ** (generator.uniform(noise.min_level, noise.max_level) / 20)
            audio = audio + np.float32(level) * generator.standard_normal(len(audio), np.float32)
        return np.asarray(audio, np.float32)


def sped_length(samples: int | np.ndarray, rate: float | np.ndarray) -> np.ndarray:
    """Samples of recordings after speed `rate`."""
    return np.ceil(np.asarray(samples) / rate).astype(np.int64)


def fit_length(audio: np.ndarray, samples: int) -> np.ndarray:
    """audio [S] cut, or filled with zeros, to `samples`."""
    return np.pad(audio[:samples], (0, max(0, samples - len(audio))))
