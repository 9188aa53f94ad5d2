"""The augmentation of the audio: NeMo's `train_ds.augmentor`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from jasper_tf.config.section import Range, SampleRate, Section, ZeroToOne

Decibels = Annotated[float, Range(-300, 300)]  # a gain that stays finite in float32


@dataclass(kw_only=True)
class PerturbationConfig(Section):
    """What all perturbations have.

    Attributes:
        prob: probability of each utterance to be changed.
    """

    prob: ZeroToOne = 0.5

    IGNORED = frozenset({"rng"})


@dataclass(kw_only=True)
class SpeedConfig(PerturbationConfig):
    """Tempo and pitch together.

    Attributes:
        min_speed_rate: 1 is unchanged, 1.1 is 10 % faster.
        max_speed_rate: the upper end.
        num_rates: above 0: draws from that many rates, equally far apart, both ends included; 0 and -1: any rate
            between (NeMo: 5).
    """

    min_speed_rate: Annotated[float, Range(0.1, 10)] = 0.9
    max_speed_rate: Annotated[float, Range(0.1, 10)] = 1.1
    num_rates: Annotated[int, Range(-1, 1000)] = -1

    IGNORED = frozenset({"rng", "sr", "resample_type"})


@dataclass(kw_only=True)
class ShiftConfig(PerturbationConfig):
    """The audio earlier or later, its length unchanged.

    Attributes:
        min_shift_ms: above 0 earlier, below 0 later.
        max_shift_ms: the upper end.
    """

    min_shift_ms: Annotated[float, Range(-(10**6), 10**6)] = -5.0
    max_shift_ms: Annotated[float, Range(-(10**6), 10**6)] = 5.0


@dataclass(kw_only=True)
class ImpulseConfig(PerturbationConfig):
    """Convolution with a room's impulse response; the mean power stays.

    Attributes:
        manifest_path: manifests of responses; only `audio_filepath` is needed.
        shift_impulse: moves the direct path, the largest sample, to time 0, so that the transcript stays aligned (NeMo:
            false).
        normalize_impulse: subtracts the response's mean first.
    """

    manifest_path: str | list[str]
    shift_impulse: bool = True
    normalize_impulse: bool = False

    IGNORED = frozenset({"rng", "shuffle_n"})


@dataclass(kw_only=True)
class NoiseConfig(PerturbationConfig):
    """A noise at a signal-to-noise ratio: a random part of a longer recording, or a shorter one once.

    Attributes:
        manifest_path: manifests of noises; only `audio_filepath` is needed.
        min_snr_db: the loudest noise.
        max_snr_db: the faintest.
        max_gain_db: the noise is amplified by at most this.
    """

    manifest_path: str | list[str]
    min_snr_db: Decibels = 10.0
    max_snr_db: Decibels = 50.0
    max_gain_db: Decibels = 300.0

    IGNORED = frozenset({"rng", "orig_sr", "shuffle_n"})


@dataclass(kw_only=True)
class GainConfig(PerturbationConfig):
    """A change of level.

    Attributes:
        min_gain_dbfs: decibels.
        max_gain_dbfs: the upper end.
    """

    min_gain_dbfs: Decibels = -10.0
    max_gain_dbfs: Decibels = 10.0


@dataclass(kw_only=True)
class WhiteNoiseConfig(PerturbationConfig):
    """Gaussian noise.

    Attributes:
        min_level: decibels of full scale.
        max_level: the upper end.
    """

    min_level: Annotated[float, Range(-300, 0)] = -90.0
    max_level: Annotated[float, Range(-300, 0)] = -46.0


@dataclass(kw_only=True)
class BandLimitConfig(PerturbationConfig):
    """The audio as a channel of a low sample rate carries it, such as a telephone line. Not in NeMo.

    Attributes:
        sample_rate: of the channel, Hz; below the model's.
        mu_law: codes the samples in 8-bit mu-law (ITU-T G.711).
    """

    sample_rate: SampleRate = 8000
    mu_law: bool = False


@dataclass(kw_only=True)
class AugmentorConfig(Section):
    """The perturbations, in the order in which they are applied. Null in a file is one with its defaults.

    Attributes:
        speed: tempo and pitch.
        shift: in time.
        impulse: rooms.
        noise: recordings of noise.
        gain: level.
        white_noise: Gaussian noise.
        band_limit: telephone lines. Not in NeMo.
    """

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
