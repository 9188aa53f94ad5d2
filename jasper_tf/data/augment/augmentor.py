"""Applies a chain of perturbations to training utterances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jasper_tf.data.augment.band_limit import BandLimit
from jasper_tf.data.augment.impulse import Impulse
from jasper_tf.data.augment.level import Gain, WhiteNoise
from jasper_tf.data.augment.noise import Noise
from jasper_tf.data.augment.perturbation import AugmentorError, Perturbation
from jasper_tf.data.augment.shift import Shift
from jasper_tf.data.augment.speed import Speed, change_speed

_CHAIN: dict[str, type[Perturbation]] = {
    "shift": Shift,
    "impulse": Impulse,
    "noise": Noise,
    "gain": Gain,
    "white_noise": WhiteNoise,
    "band_limit": BandLimit,
}
"""In the order in which sound comes about: room, what else is heard in it, recording level, electronics, line."""
_KNOWN: dict[str, type[Perturbation]] = {"speed": Speed, **_CHAIN}


class AudioAugmentor:
    """NeMo's `train_ds.augmentor`: each named perturbation with its probability.

    They are applied in the order speed, shift, impulse, noise, gain, white_noise, band_limit, whatever the order in the
    file (NeMo: that of the file). Every draw is a pure function of (seed, epoch, utterance): the same after a resume,
    whatever the batches. Each perturbation has draws of its own, which the others do not change; only `gain` and
    `white_noise` share one sequence, in that order.

    Args:
        spec: for example `{"speed": {"prob": 0.7, "min_speed_rate": 0.9, "max_speed_rate": 1.1}}`.
        seed: of all draws.
        sample_rate: of the audio, Hz.

    Raises:
        UserError: an unknown perturbation or key, a value of the wrong type, a range upside down, or a manifest of
            noises or impulse responses that is missing or broken.
    """

    def __init__(self, spec: Mapping[str, Any], seed: int = 0, sample_rate: int = 16000):
        self.seed, self.sample_rate = seed, sample_rate
        self.kinds = read_perturbations(spec, sample_rate)
        for name, kind in self.kinds.items():
            kind.prepare(f"augmentor.{name}", sample_rate)

    @property
    def speeds(self) -> tuple[float, float]:
        """The lowest and the highest speed rate that may be drawn."""
        speed = self.kinds.get("speed")
        if not isinstance(speed, Speed):
            return (1.0, 1.0)
        return (min(1.0, speed.min_speed_rate), max(1.0, speed.max_speed_rate))

    def speed_rates(self, epoch: int, utterances: int) -> np.ndarray:
        """[N] float64, the speed of each utterance in `epoch`; 1 is unchanged."""
        speed = self.kinds.get("speed")
        return speed.rates(self.seed, epoch, utterances) if isinstance(speed, Speed) else np.ones(utterances)

    def __call__(self, audio: np.ndarray, rate: float, epoch: int, index: int) -> np.ndarray:
        """Utterance number `index` in `epoch`: audio [S] float32 -> [ceil(S / rate)] float32.

        `rate` is what `speed_rates` drew for it.

        Raises:
            UserError: a noise or an impulse response cannot be read; the line names its key and its file.
        """
        audio = change_speed(audio, rate)
        streams: dict[int, np.random.Generator] = {}
        for name, kind in _CHAIN.items():
            perturbation = self.kinds.get(name)
            if perturbation is None:
                continue
            if kind.STREAM not in streams:
                streams[kind.STREAM] = np.random.default_rng((self.seed, epoch, index, kind.STREAM))
            generator = streams[kind.STREAM]
            if generator.random() < perturbation.prob:
                audio = perturbation(audio, generator, self.sample_rate)
        return np.asarray(audio, np.float32)


def read_perturbations(spec: Mapping[str, Any], sample_rate: int) -> dict[str, Perturbation]:
    """The perturbations of an `augmentor`, checked, before any file of theirs is opened.

    Raises:
        AugmentorError: an unknown perturbation or key, a value of the wrong type, a range upside down.
    """
    kinds: dict[str, Perturbation] = {}
    for name, values in spec.items():
        if name not in _KNOWN:
            raise AugmentorError([name], "unknown perturbation", tuple(_KNOWN))
        kinds[name] = _KNOWN[name].read(name, values, sample_rate)
    return kinds
