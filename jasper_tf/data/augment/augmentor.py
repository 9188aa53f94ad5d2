"""Applies a chain of perturbations to training utterances."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from jasper_tf.config.loading import read_section
from jasper_tf.config.rules.augmentor import check_augmentor
from jasper_tf.config.sections.augment_schema import AugmentorConfig
from jasper_tf.config.source import ConfigSource
from jasper_tf.data.augment.band_limit import BandLimit
from jasper_tf.data.augment.impulse import Impulse
from jasper_tf.data.augment.level import Gain, WhiteNoise
from jasper_tf.data.augment.noise import Noise
from jasper_tf.data.augment.perturbation import Perturbation
from jasper_tf.data.augment.shift import Shift
from jasper_tf.data.augment.speed import change_speed, draw_speed_rates, speed_range

_CHAIN: dict[str, type[Perturbation]] = {
    "shift": Shift,
    "impulse": Impulse,
    "noise": Noise,
    "gain": Gain,
    "white_noise": WhiteNoise,
    "band_limit": BandLimit,
}
"""In the order in which a recording comes about: room, background noise, recording level, electronics, line."""


class AudioAugmentor:
    """Applies each perturbation of NeMo's `train_ds.augmentor` with its probability.

    They are applied in the order speed, shift, impulse, noise, gain, white_noise, band_limit, whatever the order in the
    file (NeMo: that of the file). Every draw is a pure function of (seed, epoch, utterance): the same after a resume,
    whatever the batches. Each perturbation has draws of its own, which the others do not change; only `gain` and
    `white_noise` share one sequence, in that order.

    Args:
        config: the section of a configuration, or a mapping such as
            `{"speed": {"prob": 0.7, "min_speed_rate": 0.9, "max_speed_rate": 1.1}}`, which is checked as in a file.
        seed: of all draws.
        sample_rate: of the audio, Hz.

    Raises:
        UserError: a mapping with an unknown perturbation or key, a value of the wrong type or out of range; a manifest
            of noises or impulse responses that is missing or broken.
    """

    def __init__(self, config: AugmentorConfig | Mapping[str, Any], seed: int = 0, sample_rate: int = 16000):
        self.seed = seed
        if not isinstance(config, AugmentorConfig):
            config = _read(config, sample_rate)
        self.config = config
        self.chain = {
            name: kind(section, f"augmentor.{name}", sample_rate)
            for name, kind in _CHAIN.items()
            if (section := getattr(config, name)) is not None
        }

    @property
    def speeds(self) -> tuple[float, float]:
        """The lowest and the highest speed rate that may be drawn; 1 is between them."""
        return speed_range(self.config.speed)

    def speed_rates(self, epoch: int, utterances: int) -> np.ndarray:
        """[utterances] float64, the speed of each utterance in `epoch`; 1 is unchanged."""
        return draw_speed_rates(self.config.speed, self.seed, epoch, utterances)

    def __call__(self, audio: np.ndarray, rate: float, epoch: int, index: int) -> np.ndarray:
        """Utterance number `index` in `epoch`: audio [S] float32 -> [ceil(S / rate)] float32.

        `rate` is what `speed_rates` drew for it.

        Raises:
            UserError: a noise or an impulse response cannot be read; the line names its key and its file.
        """
        audio = change_speed(audio, rate)
        streams: dict[int, np.random.Generator] = {}
        for perturbation in self.chain.values():
            number = perturbation.STREAM
            if number not in streams:
                streams[number] = np.random.default_rng((self.seed, epoch, index, number))
            if streams[number].random() < perturbation.config.prob:
                audio = perturbation(audio, streams[number])
        return np.asarray(audio, np.float32)


def _read(values: Mapping[str, Any], sample_rate: int) -> AugmentorConfig:
    source = ConfigSource("configuration", {"augmentor": values})
    config = read_section(AugmentorConfig, source, ("augmentor",))
    check_augmentor(config, sample_rate, ("augmentor",), source)
    return config
