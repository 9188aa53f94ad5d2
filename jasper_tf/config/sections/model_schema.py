"""The `model` section of a configuration file, in NeMo's layout."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jasper_tf.config.section import OFF, BelowOne, Range, SampleRate, Seconds, Section, ZeroToOne
from jasper_tf.config.sections.data_schema import DATASETS, DatasetConfig
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.config.sections.optim_schema import OptimConfig

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
class FixedNormalization(Section):
    """Given statistics for `preprocessor.normalize`, one number for each spliced feature.

    Attributes:
        fixed_mean: subtracted.
        fixed_std: divided by.
    """

    fixed_mean: list[FeatureValue]
    fixed_std: list[Annotated[float, Range(1e-10, 10**6)]]


@dataclass(kw_only=True)
class PreprocessorConfig(Section):
    """Audio to log-mel features.

    Attributes:
        sample_rate: Hz; the default is `model.sample_rate`, and no other value fits.
        window_size: seconds.
        window_stride: hop, seconds; truncated to whole samples, as in NeMo.
        window: shape of the window; null is `none`.
        normalize: mean 0 and deviation 1 over the utterance: of each feature, or of all together; or given statistics.
        n_fft: length of the FFT; null is the next power of 2 that holds the window.
        features: mel bands.
        lowfreq: lower edge of the mel filterbank, Hz.
        highfreq: upper edge, Hz; null is half the sample rate.
        log: takes the logarithm.
        log_zero_guard_type: `add`: log(x + guard); `clamp`: log(max(x, guard)).
        log_zero_guard_value: a number, or float32's smallest normal number (`tiny`) or machine epsilon (`eps`).
        dither: standard deviation of the Gaussian noise added to the audio in training.
        preemph: coefficient of the pre-emphasis; null is none.
        pad_to: frames are padded to a multiple of this.
        pad_value: value of padded frames.
        frame_splicing: neighboring frames stacked into one.
        mag_power: exponent on the magnitude; 2 is the power spectrum.
        mel_norm: area normalization of the filters.
        exact_pad: pads (n_fft - hop) / 2 samples on each side instead of n_fft / 2.
        generation: `modern` computes as NeMo 2.5 and later, `legacy` as before. Not in NeMo.
    """

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
    """SpecAugment and SpecCutout: masks on the features, in training. Widths are in frames and features.

    Attributes:
        freq_masks: bands of features masked in each utterance.
        time_masks: spans of frames masked in each utterance.
        freq_width: largest width of a band.
        time_width: largest width of a span; below 1 a fraction of the utterance's length.
        rect_masks: rectangles set to 0 in each utterance.
        rect_time: largest side in time.
        rect_freq: largest side in frequency.
        mask_value: value of masked bands and spans.
    """

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
    """One block. As in NeMo, the first seven keys have no default.

    Attributes:
        filters: output channels.
        repeat: sub-blocks of convolution, normalization, activation and dropout.
        kernel: frames; made odd.
        stride: of every sub-block, or of the last only with `stride_last`.
        dilation: frames between the taps of the kernel.
        dropout: rate after each activation.
        residual: adds the block's input, by a 1x1 convolution with normalization.
        residual_mode: null is the mode of the last block that names one, or else the encoder's, as in NeMo.
        residual_dense: adds the outputs of all dense blocks before too (Jasper DR).
        separable: a depthwise convolution, then a pointwise one (QuartzNet).
        groups: of the convolutions; of the pointwise ones if separable.
        heads: of the depthwise convolutions: channel c uses kernel c % heads; -1 gives each channel its own.
        se: squeeze-and-excitation (Citrinet).
        se_reduction_ratio: channels divided by the width of its bottleneck.
        se_context_size: frames that it averages over; -1 is the whole utterance.
        se_interpolation_mode: accepted, without effect, as in NeMo.
        kernel_size_factor: multiplies `kernel`.
        stride_last: only the last sub-block strides.
        future_context: frames of right context; -1 is symmetric.
    """

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
    """The stack of Jasper blocks.

    Attributes:
        feat_in: features of a frame before splicing; `preprocessor.features`.
        jasper: the blocks.
        activation: of every block.
        conv_mask: zeroes the input of every convolution beyond the utterance's length.
        normalization_mode: of every block.
        residual_mode: of blocks that name none: sum or maximum, and whether the residual strides too.
        norm_groups: of `group`; -1 is one for each channel.
        init_mode: of initial weights; null is PyTorch's default.
        frame_splicing: `preprocessor.frame_splicing`.
        recompute: the backward pass computes the values inside the blocks again: less memory, more time. Not in NeMo.
    """

    feat_in: Channels
    jasper: list[JasperBlockConfig]
    activation: Literal["relu", "hardtanh", "selu", "swish"] = "relu"
    conv_mask: bool = True
    normalization_mode: Literal["batch", "layer", "instance", "group"] = "batch"
    residual_mode: ResidualMode = "add"
    norm_groups: ChannelsOrMinusOne = -1
    init_mode: InitMode | None = "xavier_uniform"
    frame_splicing: Splicing = 1
    recompute: bool = False

    TARGETS = ("ConvASREncoder",)
    ONLY = {"quantize": OFF}


@dataclass(kw_only=True)
class DecoderConfig(Section):
    """The 1x1 convolution from the encoder to the labels and the blank.

    Attributes:
        feat_in: filters of the last block; null and -1 are filled in.
        num_classes: number of labels, the blank not counted; -1 is filled in.
        vocabulary: a copy of `model.labels`, or of the pieces of `model.tokenizer`, as NeMo's files have it.
        init_mode: of initial weights; null is PyTorch's default.
    """

    feat_in: ChannelsOrMinusOne = -1
    num_classes: Annotated[int, Range(-1, 100_000, without=(0,))] = -1
    vocabulary: list[str] | None = None
    init_mode: InitMode | None = "xavier_uniform"

    TARGETS = ("ConvASRDecoder",)
    ONLY = {"add_blank": (True,)}
    NULL_MEANS = {"feat_in": -1}


@dataclass(kw_only=True)
class InterCTCConfig(Section):
    """Intermediate CTC: the loss of blocks before the last too (Lee and Watanabe 2021).

    Attributes:
        loss_weights: of each such block in the loss; the last block has the rest.
        apply_at_layers: their numbers, from 0; each has as many filters as the last block.
    """

    loss_weights: list[BelowOne]
    apply_at_layers: list[Annotated[int, Range(0, 1000)]]


@dataclass(kw_only=True)
class TokenizerConfig(Section):
    """Word pieces in the place of `model.labels`.

    `content` is what `Tokenizer.get_config` gave where the tokenizer comes with a model, not from a folder.

    Attributes:
        dir: folder with `tokenizer.model` (bpe) or `vocab.txt` (wpe), as `tokenizer train` and NeMo write it; where it
            is gone, the folder `tokenizer` beside the configuration.
        type: `bpe`: a SentencePiece model, BPE or unigram; `wpe`: a WordPiece vocabulary.
        update_tokenizer: in fine-tuning; false keeps what the pretrained model writes, and `dir` and `type` do not
            count. True is NeMo's `change_vocabulary`: other pieces get a new head.
    """

    dir: str
    type: Literal["bpe", "wpe"]
    update_tokenizer: bool = True
    content: dict[str, Any] | None = field(default=None, compare=False, repr=False)

    ONLY = {
        "model_path": (None,),
        "vocab_path": (None,),
        "spe_tokenizer_vocab": (None,),
        "hf_kwargs": (None, {}),
        "custom_tokenizer": (None,),
        "special_tokens": (None,),
    }


def _is_ctc_model(name: Any) -> bool:
    """A class named EncDecCTCModel or EncDecCTCModelBPE."""
    return name is None or str(name).endswith((".EncDecCTCModel", ".EncDecCTCModelBPE"))


@dataclass(kw_only=True)
class ModelConfig(Section):
    """The model and its data.

    Attributes:
        sample_rate: Hz.
        labels: the characters that the model can write; the blank comes after them.
        tokenizer: the word pieces that the model can write, in the place of `labels`.
        train_ds: what is trained on.
        validation_ds: what is validated on after an epoch.
        test_ds: read by `evaluate` where `validation_ds` is missing, for `channel_selector` and `trim_silence`.
        preprocessor: the features.
        spec_augment: masks on the features; null is none.
        encoder: the network.
        decoder: its head.
        decoding: how log-probabilities become text.
        optim: optimizer and learning rate.
        ctc_reduction: of a batch's losses: sum over utterances; over labels; mean of each over its labels; sum.
        interctc: losses of earlier blocks; null is none.
        freeze: `encoder`, or patterns of variable paths such as `block_0/*`, `*norm_*/*`, `decoder/bias`: pretrained
            weights that stay as they are. Not in NeMo.
    """

    sample_rate: SampleRate = 16000
    labels: list[str] | None = None
    tokenizer: TokenizerConfig | None = None
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

    # repeat, dropout, separable and model_defaults only hold values that NeMo's files refer to.
    IGNORED = frozenset(
        "repeat dropout separable model_defaults log_prediction compute_eval_loss use_cer target nemo_version".split()
    )
    ONLY = {
        "skip_nan_grad": OFF,
        "init_from_nemo_model": (None,),
        "init_from_pretrained_model": (None,),
        "init_from_ptl_ckpt": (None,),
        "freeze_encoder": OFF,
        "adapters": (None,),
        "target": _is_ctc_model,
    }

    @property
    def labels_key(self) -> str:
        """The key of what the model can write: `model.labels`, or `model.tokenizer`."""
        return "model.labels" if self.tokenizer is None else "model.tokenizer"

    def datasets(self) -> list[tuple[str, DatasetConfig]]:
        """The sections of data that have values, with their keys."""
        return [(name, getattr(self, name)) for name in DATASETS if isinstance(getattr(self, name), DatasetConfig)]
