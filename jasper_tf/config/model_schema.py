"""The `model` section of a configuration file, in NeMo's layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jasper_tf.config.augment_schema import AugmentorConfig
from jasper_tf.config.decoding_schema import DecodingConfig
from jasper_tf.config.optim_schema import OptimConfig
from jasper_tf.config.section import OFF, BelowOne, NonNegative, Range, SampleRate, Seconds, Section, ZeroToOne

DATASETS = ("train_ds", "validation_ds", "test_ds")
MOST_WINDOW_SAMPLES = 32_768
"""The longest window, hop and FFT of the spectrogram."""

Channels = Annotated[int, Range(1, 8192)]
ChannelsOrMinusOne = Annotated[int, Range(-1, 8192, without=(0,))]
Splicing = Annotated[int, Range(1, 16)]
FeatureValue = Annotated[float, Range(-(10**6), 10**6)]
MaskCount = Annotated[int, Range(0, 100)]
MaskFrames = Annotated[int, Range(0, 100_000)]
MaskFeatures = Annotated[int, Range(0, 1024)]
# A list of one number; the number alone is accepted too.
Stride = Annotated[list[Annotated[int, Range(1, 100)]], Range(1, 1)]

InitMode = Literal["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "tds_uniform", "tds_normal"]
ResidualMode = Literal["add", "stride_add", "max", "stride_max"]


@dataclass(kw_only=True)
class TrainingSetConfig(Section):
    """One entry of `train_ds.input_cfg`. `weight` null in all entries weights them by size."""

    manifest_filepath: str | list[str]
    weight: NonNegative | None = None

    IGNORED = frozenset({"type", "tags"})


@dataclass(kw_only=True)
class DatasetConfig(Section):
    """One of `train_ds`, `validation_ds`, `test_ds`. Durations in seconds.

    `manifest_filepath` as a mapping names several validation sets. This project's own keys: `buckets`, the number of
    padded lengths; `unknown_characters`, what to do with a text that has characters outside of the vocabulary;
    `on_bad_audio`, and `max_bad_audio`, the fraction of the utterances that may be skipped. The rest is NeMo's.
    """

    manifest_filepath: str | list[str] | dict[str, Any] | None = None
    input_cfg: list[TrainingSetConfig] | None = None
    reweight_temperature: Annotated[float, Range(0, 1000)] | None = None
    is_tarred: bool = False
    tarred_audio_filepaths: str | list[str] | None = None
    batch_duration: Seconds | None = None
    on_bad_audio: Literal["error", "skip"] = "error"
    max_bad_audio: ZeroToOne = 0.01
    sample_rate: SampleRate = 16000
    labels: list[str] | None = None
    batch_size: Annotated[int, Range(1, 65_536)] = 16
    shuffle: bool = False
    min_duration: NonNegative | None = None
    max_duration: Seconds | None = None
    trim_silence: bool = False
    buckets: Annotated[int, Range(1, 1000)] = 4
    unknown_characters: Literal["error", "drop_utterance", "remove_character"] = "error"
    channel_selector: Literal["average"] | Annotated[int, Range(0, 1023)] = "average"
    augmentor: AugmentorConfig | None = None

    NULL_MEANS = {"is_tarred": False, "on_bad_audio": "error"}
    IGNORED = frozenset(
        "num_workers pin_memory prefetch_factor persistent_workers defer_setup load_audio pad_id"
        " tarred_shard_strategy shard_manifests shuffle_n bucketing_strategy".split()
    )
    ONLY = {
        "bucketing_batch_size": (None,),
        "bucketing_weights": (None,),
        "use_start_end_token": OFF,
        "use_lhotse": OFF,
        "use_dali": OFF,
        "is_concat": OFF,
        "drop_last": OFF,
        "int_values": OFF,
        "cache_audio": OFF,
        "return_sample_id": OFF,
        "normalize_transcripts": OFF,
        "normalize": OFF,
        "parser": (None,),
        "max_utts": (None, 0),
        "bos_id": (None,),
        "eos_id": (None,),
        "blank_index": (None, -1),
        "unk_index": (None, -1),
        "load_audio": (True,),
    }


@dataclass(kw_only=True)
class FixedNormalization(Section):
    """Given statistics for `preprocessor.normalize`, one number per spliced feature."""

    fixed_mean: list[FeatureValue]
    fixed_std: list[Annotated[float, Range(1e-10, 10**6)]]


@dataclass(kw_only=True)
class PreprocessorConfig(Section):
    """Audio to log-mel features; window sizes in seconds. `generation` is this project's: modern is NeMo >= 2.5."""

    sample_rate: SampleRate = 16000
    window_size: Seconds = 0.02
    window_stride: Seconds = 0.01
    window: Literal["hann", "hamming", "blackman", "bartlett", "none"] | None = "hann"
    normalize: Literal["per_feature", "all_features", "none"] | FixedNormalization | None = "per_feature"
    n_fft: Annotated[int, Range(1, MOST_WINDOW_SAMPLES)] | None = None
    features: Annotated[int, Range(1, 1024)] = 64
    lowfreq: Annotated[float, Range(0, 192_000)] = 0.0
    highfreq: Annotated[float, Range(0, 192_000, without=(0,))] | None = None
    log: bool = True
    log_zero_guard_type: Literal["add", "clamp"] = "add"
    log_zero_guard_value: Annotated[float, Range(1e-38, 1000)] | Literal["tiny", "eps"] = 2**-24
    dither: ZeroToOne = 1e-5
    preemph: ZeroToOne | None = 0.97
    pad_to: Annotated[int, Range(0, 1024)] = 16
    pad_value: FeatureValue = 0.0
    frame_splicing: Splicing = 1
    mag_power: Annotated[float, Range(0, 10, without=(0,))] = 2.0
    mel_norm: Literal["slaney"] | None = "slaney"
    exact_pad: bool = False
    generation: Literal["modern", "legacy"] = "modern"

    TARGETS = ("AudioToMelSpectrogramPreprocessor",)
    IGNORED = frozenset({"rng", "use_torchaudio", "nb_max_freq"})
    ONLY = {
        "n_window_size": (None,),
        "n_window_stride": (None,),
        "nb_augmentation_prob": (None, 0, 0.0),
        "stft_conv": OFF,
        "stft_exact_pad": OFF,
    }


@dataclass(kw_only=True)
class SpecAugmentConfig(Section):
    """Widths of the masks in frames and features; `time_width` below 1 is a fraction of the utterance's length."""

    freq_masks: MaskCount = 0
    time_masks: MaskCount = 0
    freq_width: MaskFeatures = 10
    time_width: MaskFrames | BelowOne = 10
    rect_masks: MaskCount = 0
    rect_time: MaskFrames = 5
    rect_freq: MaskFeatures = 20
    mask_value: FeatureValue = 0.0

    TARGETS = ("SpectrogramAugmentation",)
    IGNORED = frozenset({"rng", "use_numba_spec_augment", "use_vectorized_spec_augment", "use_vectorized_code"})


@dataclass(kw_only=True)
class JasperBlockConfig(Section):
    """One block. As in NeMo, the first seven keys have no default, and `residual_mode` applies to later blocks too."""

    filters: Channels
    repeat: Annotated[int, Range(1, 100)]
    kernel: Annotated[list[Annotated[int, Range(1, 1000)]], Range(1, 1)]
    stride: Stride
    dilation: Stride
    dropout: BelowOne
    residual: bool
    residual_mode: ResidualMode | None = None
    residual_dense: bool = False
    separable: bool = False
    groups: Channels = 1
    heads: ChannelsOrMinusOne = -1
    se: bool = False
    se_reduction_ratio: Channels = 8
    se_context_size: Annotated[int, Range(-1, 100_000, without=(0,))] = -1
    se_interpolation_mode: Literal["nearest", "linear", "bilinear", "bicubic", "area"] = "nearest"
    kernel_size_factor: Annotated[float, Range(0, 10, without=(0,))] = 1.0
    stride_last: bool = False
    future_context: Annotated[int, Range(-1, 1000)] = -1


@dataclass(kw_only=True)
class EncoderConfig(Section):
    """The stack of Jasper blocks."""

    feat_in: Channels
    jasper: list[JasperBlockConfig]
    activation: Literal["relu", "hardtanh", "selu", "swish"] = "relu"
    conv_mask: bool = True
    normalization_mode: Literal["batch", "layer", "instance", "group"] = "batch"
    residual_mode: ResidualMode = "add"
    norm_groups: ChannelsOrMinusOne = -1
    init_mode: InitMode | None = "xavier_uniform"
    frame_splicing: Splicing = 1

    TARGETS = ("ConvASREncoder",)
    ONLY = {"quantize": OFF}


@dataclass(kw_only=True)
class DecoderConfig(Section):
    """The 1x1 head. `feat_in` null or -1 and `num_classes` -1 are filled in from the encoder and the labels."""

    feat_in: ChannelsOrMinusOne = -1
    num_classes: Annotated[int, Range(-1, 100_000, without=(0,))] = -1
    vocabulary: list[str] | None = None
    init_mode: InitMode | None = "xavier_uniform"

    TARGETS = ("ConvASRDecoder",)
    ONLY = {"add_blank": (True,)}
    NULL_MEANS = {"feat_in": -1}


@dataclass(kw_only=True)
class InterCTCConfig(Section):
    """CTC losses of blocks before the last, counted from 0, with their weights in the loss."""

    loss_weights: list[BelowOne]
    apply_at_layers: list[Annotated[int, Range(0, 1000)]]


@dataclass(kw_only=True)
class ModelConfig(Section):
    """The model and its data.

    `freeze`, this project's, keeps weights of a pretrained model as they are: "encoder", or patterns of variable paths
    such as `block_0/*`, `*norm_*/*`, `decoder/bias` (see `training.fine_tuning.freeze`).
    """

    sample_rate: SampleRate = 16000
    labels: list[str]
    train_ds: DatasetConfig | None = None
    validation_ds: DatasetConfig | None = None
    test_ds: DatasetConfig | None = None
    preprocessor: PreprocessorConfig
    spec_augment: SpecAugmentConfig | None = None
    encoder: EncoderConfig
    decoder: DecoderConfig
    decoding: DecodingConfig = field(default_factory=DecodingConfig)
    optim: OptimConfig
    ctc_reduction: Literal["mean_batch", "mean_volume", "mean", "sum"] = "mean_batch"
    interctc: InterCTCConfig | None = None
    freeze: Literal["encoder"] | list[str] | None = None

    # repeat, dropout and separable only hold YAML anchors in NeMo's QuartzNet files.
    IGNORED = frozenset("repeat dropout separable log_prediction compute_eval_loss use_cer target nemo_version".split())
    ONLY = {
        "skip_nan_grad": OFF,
        "init_from_nemo_model": (None,),
        "init_from_pretrained_model": (None,),
        "init_from_ptl_ckpt": (None,),
        "freeze_encoder": OFF,
        "adapters": (None,),
        "target": lambda name: name is None or str(name).endswith(".EncDecCTCModel"),
    }

    def datasets(self) -> list[tuple[str, DatasetConfig]]:
        """The sections of data that have values, with their keys."""
        return [(name, getattr(self, name)) for name in DATASETS if isinstance(getattr(self, name), DatasetConfig)]
