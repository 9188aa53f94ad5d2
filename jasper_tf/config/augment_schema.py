"""The augmentation of the audio: NeMo's `train_ds.augmentor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from jasper_tf.config.section import Range, SampleRate, Section, ZeroToOne

Decibels = Annotated[float, Range(-300, 300)]  # a gain that stays finite in float32


@dataclass(kw_only=True)
class PerturbationConfig(Section):
    """What all perturbations have: the probability of each utterance to be changed."""

    prob: ZeroToOne = 0.5

    IGNORED = frozenset({"rng"})


@dataclass(kw_only=True)
class SpeedConfig(PerturbationConfig):
    """Tempo and pitch together: 1 is unchanged, 1.1 is 10% faster.

    `num_rates` above 0 draws from that many rates, equally far apart, both ends included (3 from 0.9 to 1.1: 0.9, 1.0,
    1.1); 0 and -1 draw any rate between. NeMo's default is 5.
    """

    min_speed_rate: Annotated[float, Range(0.1, 10)] = 0.9
    max_speed_rate: Annotated[float, Range(0.1, 10)] = 1.1
    num_rates: Annotated[int, Range(-1, 1000)] = -1

    IGNORED = frozenset({"rng", "sr", "resample_type"})


@dataclass(kw_only=True)
class ShiftConfig(PerturbationConfig):
    """The audio earlier (above 0) or later (below 0) by some milliseconds, its length unchanged."""

    min_shift_ms: Annotated[float, Range(-(10**6), 10**6)] = -5.0
    max_shift_ms: Annotated[float, Range(-(10**6), 10**6)] = 5.0


@dataclass(kw_only=True)
class ImpulseConfig(PerturbationConfig):
    """Convolution with a room's impulse response from a manifest.

    `shift_impulse` moves the direct path, the response's largest sample, to time 0, so that the transcript stays
    aligned (NeMo's default: false). `normalize_impulse` subtracts the response's mean first.
    """

    manifest_path: str | list[str]
    shift_impulse: bool = True
    normalize_impulse: bool = False

    IGNORED = frozenset({"rng", "shuffle_n"})


@dataclass(kw_only=True)
class NoiseConfig(PerturbationConfig):
    """A noise from a manifest, at a signal-to-noise ratio; it is amplified by at most `max_gain_db`."""

    manifest_path: str | list[str]
    min_snr_db: Decibels = 10.0
    max_snr_db: Decibels = 50.0
    max_gain_db: Decibels = 300.0

    IGNORED = frozenset({"rng", "orig_sr", "shuffle_n"})


@dataclass(kw_only=True)
class GainConfig(PerturbationConfig):
    """A change of level, in decibels."""

    min_gain_dbfs: Decibels = -10.0
    max_gain_dbfs: Decibels = 10.0


@dataclass(kw_only=True)
class WhiteNoiseConfig(PerturbationConfig):
    """Gaussian noise; its level in decibels of full scale."""

    min_level: Annotated[float, Range(-300, 0)] = -90.0
    max_level: Annotated[float, Range(-300, 0)] = -46.0


@dataclass(kw_only=True)
class BandLimitConfig(PerturbationConfig):
    """This project's own: the audio as a channel of a low sample rate carries it, such as a telephone line.

    `sample_rate` is the channel's, in Hz. `mu_law` codes the samples in 8-bit mu-law (ITU-T G.711).
    """

    sample_rate: SampleRate = 8000
    mu_law: bool = False


@dataclass(kw_only=True)
class AugmentorConfig(Section):
    """The perturbations, in the order in which they are applied. Null in a file is one with its defaults."""

    speed: SpeedConfig | None = None
    shift: ShiftConfig | None = None
    impulse: ImpulseConfig | None = None
    noise: NoiseConfig | None = None
    gain: GainConfig | None = None
    white_noise: WhiteNoiseConfig | None = None
    band_limit: BandLimitConfig | None = None

    NULL_MEANS: ClassVar[dict[str, Any]] = dict.fromkeys(
        ("speed", "shift", "impulse", "noise", "gain", "white_noise", "band_limit"), {}
    )
