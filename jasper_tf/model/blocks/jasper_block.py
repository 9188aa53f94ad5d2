"""One block of the encoder: repeated convolutions with residual connections."""

import math

import keras
import numpy as np
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.features.valid_frames import valid_frames
from jasper_tf.model.blocks.batch_norm import BatchNorm
from jasper_tf.model.blocks.group_norm import GroupNorm
from jasper_tf.model.blocks.masked_conv import MaskedConv1D
from jasper_tf.model.blocks.recomputation import Repeatable, recompute
from jasper_tf.model.blocks.squeeze_excite import SqueezeExcite

# NeMo's name to Keras's name; torch's Hardtanh clips to [-1, 1], and so does Keras's hard_tanh.
ACTIVATIONS = {"relu": "relu", "hardtanh": "hard_tanh", "selu": "selu", "swish": "silu"}
_CHOICES = {
    "activation": tuple(ACTIVATIONS),
    "normalization_mode": ("batch", "layer", "group", "instance"),
    "residual_mode": ("add", "stride_add", "max"),
}


@keras.saving.register_keras_serializable(package="jasper_tf")
class JasperBlock(keras.layers.Layer):
    """Jasper block: `repeat` sub-blocks of convolution, normalization, activation and dropout.

    In the last sub-block squeeze-and-excitation and the residuals come between normalization and activation.
    Jasper: arXiv 1904.03288, section 2; QuartzNet (`separable`): arXiv 1910.10261; Citrinet (`se`): arXiv 2104.01721.
    NeMo: `JasperBlock`; the arguments up to `future_context` are an entry of its `encoder.jasper`.

    Args:
        filters: output channels.
        repeat: sub-blocks.
        kernel: frames (int or list of one int), made odd after `kernel_size_factor`.
        stride: of every sub-block, or of the last one only with `stride_last` (int or list of one int).
        dilation: frames between taps (int or list of one int).
        dropout: rate after each activation.
        residual: adds a 1x1 convolution and normalization of the block's input.
        residual_dense: such a pair for every pane: the input of the first dense block and each output since.
        residual_mode: `add`; `stride_add` strides the residual too; `max` takes the maximum instead of the sum.
        separable: depthwise then pointwise convolution.
        se, se_reduction_ratio, se_context_size: see `SqueezeExcite`.
        kernel_size_factor: scales `kernel`.
        groups: of the (pointwise, if separable) convolutions; channels are shuffled after normalization.
        heads: of the depthwise convolutions, see `MaskedConv1D`.
        stride_last: see `stride`.
        future_context: see `MaskedConv1D`.
        activation: `relu`, `hardtanh`, `selu` or `swish`.
        conv_mask: zero the input of every convolution beyond the length; without it lengths pass unchanged.
        normalization_mode: `batch`, `layer`, `group` or `instance`.
        norm_groups: of `group`; -1 is one per channel.
        init_mode: see `weight_initializer`.
        synchronized: see `BatchNorm`.
        recompute: keeps no inner values for the backward pass, which computes them again: less memory, more time.
        seed: of initial weights and dropout.

    Call arguments:
        panes: list of [B, T, C_i], the block's input last.
        length: [B] int32.

    Returns:
        (output [B, T', filters], its length [B] int32).

    Raises:
        UserError: an unknown or contradicting argument.
    """

    def __init__(
        self,
        filters: int,
        repeat: int = 3,
        kernel: int | list[int] = 11,
        stride: int | list[int] = 1,
        dilation: int | list[int] = 1,
        dropout: float = 0.0,
        residual: bool = True,
        residual_dense: bool = False,
        residual_mode: str = "add",
        separable: bool = False,
        se: bool = False,
        se_reduction_ratio: int = 8,
        se_context_size: int = -1,
        kernel_size_factor: float = 1.0,
        groups: int = 1,
        heads: int = -1,
        stride_last: bool = False,
        future_context: int = -1,
        activation: str = "relu",
        conv_mask: bool = True,
        normalization_mode: str = "batch",
        norm_groups: int = -1,
        init_mode: str | None = "xavier_uniform",
        synchronized: bool = False,
        recompute: bool = False,
        seed: int = 0,
        **kwargs,
    ):
        kernel, stride, dilation = (
            _one_int("kernel", kernel),
            _one_int("stride", stride),
            _one_int("dilation", dilation),
        )
        arguments = {key: value for key, value in locals().items() if key not in ("self", "kwargs", "__class__")}
        super().__init__(**kwargs)
        self._arguments = arguments
        for key, known in _CHOICES.items():
            if arguments[key] not in known:
                raise UserError(f"{key}: '{arguments[key]}' is unknown; use one of {', '.join(known)}")
        for key in ("filters", "repeat", "kernel", "stride", "dilation", "groups"):
            if arguments[key] < 1:
                raise UserError(f"{key}: {arguments[key]} is below 1")
        if heads != -1 and not (separable and conv_mask):
            raise UserError(f"heads: {heads} needs separable: true and conv_mask: true")
        if future_context >= 0 and not conv_mask:
            raise UserError(f"future_context: {future_context} needs conv_mask: true")
        self.filters, self.residual, self.residual_mode = filters, residual, residual_mode
        self.conv_mask, self.groups, self.residual_dense = conv_mask, groups, residual and residual_dense
        self.recompute = recompute
        self.residual_stride = stride if residual_mode == "stride_add" else 1
        self._seeds = np.random.SeedSequence(seed)

        width = odd_kernel(kernel, kernel_size_factor)
        self.depthwise, self.convolutions, self.normalizations = [], [], []
        self.residual_convolutions: list[MaskedConv1D] = []
        self.residual_normalizations: list[BatchNorm | GroupNorm] = []
        for number in range(repeat):
            step = stride if number == repeat - 1 or not stride_last else 1
            wide = {"kernel": width, "stride": step, "dilation": dilation, "future_context": future_context}
            if separable:
                self.depthwise.append(self._convolution(None, f"depthwise_{number}", heads=heads, **wide))
            wide = {"kernel": 1} if separable else wide
            self.convolutions.append(self._convolution(filters, f"conv_{number}", groups=groups, **wide))
            self.normalizations.append(self._normalization(f"norm_{number}"))
        if residual and self.residual_stride != self.subsampling_factor:
            raise UserError(
                f"stride: {stride} gives the residual another number of frames than the block; use residual: false, "
                "or residual_mode: stride_add with repeat: 1 or stride_last: true"
            )
        self.activation = keras.activations.get(ACTIVATIONS[activation])
        self.dropout = keras.layers.Dropout(dropout, seed=self._next_seed(), name="dropout", dtype=self.dtype_policy)
        self.excitation = None
        if se:
            self.excitation = SqueezeExcite(
                se_reduction_ratio,
                se_context_size,
                ACTIVATIONS[activation],
                init_mode,
                self._next_seed(),
                name="squeeze_excite",
                dtype=self.dtype_policy,
            )

    def _next_seed(self) -> int:
        return int(self._seeds.spawn(1)[0].generate_state(1)[0] >> 1)

    def _convolution(self, filters: int | None, name: str, **options) -> MaskedConv1D:
        options["init_mode"] = self._arguments["init_mode"]
        return MaskedConv1D(filters, seed=self._next_seed(), name=name, dtype=self.dtype_policy, **options)

    def _normalization(self, name: str) -> BatchNorm | GroupNorm:
        mode = self._arguments["normalization_mode"]
        if mode == "batch":
            return BatchNorm(synchronized=self._arguments["synchronized"], name=name, dtype=self.dtype_policy)
        groups = {"layer": 1, "instance": -1, "group": self._arguments["norm_groups"]}[mode]
        return GroupNorm(groups, name=name, dtype=self.dtype_policy)

    @property
    def subsampling_factor(self) -> int:
        """Frames in per frame out."""
        return math.prod(layer.stride for layer in (*self.depthwise, *self.convolutions))

    def output_frames(self, frames):
        """Returns T' for T, with or without `conv_mask`: an int, NumPy array or tensor."""
        for number in range(len(self.convolutions)):
            for layer in self.layers_of_sub_block(number):
                frames = layer.output_length(frames)
        return frames

    def output_length(self, length):
        """Returns the output length for an input length; unchanged without `conv_mask`, as in NeMo."""
        return self.output_frames(length) if self.conv_mask else length

    def build(self, panes_shape, length_shape=None):
        shape = tuple(panes_shape[-1])
        for number, normalization in enumerate(self.normalizations):
            for layer in (*self.layers_of_sub_block(number), normalization):
                layer.build(shape)
                shape = layer.compute_output_shape(shape)
        if self.excitation is not None:
            self.excitation.build(shape)
        if self.residual:
            for number, pane_shape in enumerate(panes_shape if self.residual_dense else panes_shape[-1:]):
                options = {"kernel": 1, "stride": self.residual_stride}
                convolution = self._convolution(self.filters, f"residual_conv_{number}", **options)
                normalization = self._normalization(f"residual_norm_{number}")
                convolution.build(pane_shape)
                normalization.build(convolution.compute_output_shape(pane_shape))
                self.residual_convolutions.append(convolution)
                self.residual_normalizations.append(normalization)

    def call(self, panes, length, training=None):
        training = training and self.trainable  # NeMo: a frozen block is in eval mode, without dropout
        if not (training and self.recompute):
            return self._compute(panes, length, training)
        seeds = [generator.next() for generator in self._generators()]
        output = recompute(lambda inputs, again: self._compute(inputs, length, again)[0], panes, seeds)
        return output, self.output_length(length)

    def _generators(self) -> list:
        """The generators of random numbers, in the order and as often as a call in training uses them."""
        dropout = [self.dropout.seed_generator] if self.dropout.rate else []
        inner, last = dropout * (len(self.convolutions) - 1), dropout
        window = []
        if self.excitation is not None and self.excitation.context_size >= 0:
            window = [self.excitation.seed_generator]
        return [*inner, *window, *last]

    def _compute(self, panes, length, training):
        first_mask = mask = self._valid(panes[-1], length) if self.conv_mask else None
        # Stated for the backward pass, which computes again outside of any call of Keras's.
        learning = {"training": True} if training else {}
        x, x_len = panes[-1], length
        for number in range(len(self.convolutions)):
            for layer in self.layers_of_sub_block(number):
                x = layer(x, mask, **learning)
                if self.conv_mask and not layer.keeps_length:
                    x_len = layer.output_length(x_len)
                    mask = self._valid(x, x_len)
            x = self.after_convolution(x, number, training)
        if self.excitation is not None:
            mask = mask if self.conv_mask else self._valid(x, x_len)
            drawn = isinstance(training, Repeatable) and self.excitation.context_size >= 0
            seed = training.next_seed() if drawn else None
            x = self.excitation(x, mask, training=bool(training), seed=seed)
        sources = self.residual_sources(panes)
        convolved = zip(sources, self.residual_convolutions, strict=True)
        branches = [convolution(pane, first_mask, **learning) for pane, convolution in convolved]
        return self.after_residuals(x, branches, training), x_len

    def layers_of_sub_block(self, number: int) -> list[MaskedConv1D]:
        """The convolutions of a sub-block, in their order."""
        return [*self.depthwise[number : number + 1], self.convolutions[number]]

    def after_convolution(self, x, number: int, training=None):
        """What follows the convolutions of sub-block `number`: [B, T', filters] -> [B, T', filters]."""
        x = self._normalize(self.normalizations[number], x, training)
        if self.groups > 1:
            x = shuffle_groups(x, self.groups)
        if number < len(self.convolutions) - 1:
            x = self._drop(self.activation(x), training)
        return x

    def residual_sources(self, panes: list) -> list:
        """The panes that `residual_convolutions` read, one each."""
        return (panes if self.residual_dense else panes[-1:]) if self.residual else []

    def after_residuals(self, x, branches: list, training=None):
        """The block's output, of its last sub-block x and its convolved residuals, all [B, T', filters]."""
        for branch, normalization in zip(branches, self.residual_normalizations, strict=True):
            branch = self._normalize(normalization, branch, training)
            x = ops.maximum(x, branch) if self.residual_mode == "max" else x + branch
        return self._drop(self.activation(x), training)

    def _valid(self, x, length):
        """[B, T, 1]: 1 on the frames of `x` within `length`, 0 beyond."""
        # Not by [:, :, None], for which LiteRT has no builtin operator.
        return ops.expand_dims(ops.cast(valid_frames(length, ops.shape(x)[1]), self.compute_dtype), -1)

    def _normalize(self, layer, x, training):
        if not isinstance(layer, BatchNorm):
            return layer(x)
        return training.normalize(layer, x) if isinstance(training, Repeatable) else layer(x, training=training)

    def _drop(self, x, training):
        if not isinstance(training, Repeatable):
            return self.dropout(x, training=training)
        rate = self.dropout.rate
        return keras.random.dropout(x, rate, seed=training.next_seed()) if rate else x

    def compute_output_spec(self, panes, length, training=None):
        batch, frames, _ = panes[-1].shape
        shape = (batch, None if frames is None else self.output_frames(frames), self.filters)
        return keras.KerasTensor(shape, self.compute_dtype), keras.KerasTensor(length.shape, length.dtype)

    def get_config(self):
        return {**super().get_config(), **self._arguments}


def odd_kernel(kernel: int, factor: float) -> int:
    """Returns the width of a scaled kernel: int(kernel * factor), at least 1, made odd."""
    width = max(int(kernel * factor), 1)
    return width + 1 if width % 2 == 0 else width


def shuffle_groups(x, groups: int):
    """Interleaves the groups of channels: [B, T, groups * n], channel g * n + i becomes i * groups + g."""
    batch, frames, channels = ops.shape(x)
    grouped = ops.reshape(x, (batch, frames, groups, channels // groups))
    return ops.reshape(ops.transpose(grouped, (0, 1, 3, 2)), (batch, frames, channels))


def _one_int(key: str, value: int | list[int]) -> int:
    values = list(value) if isinstance(value, list | tuple) else [value]
    if len(values) != 1 or not isinstance(values[0], int):
        raise UserError(f"{key}: {value} must be one integer, or a list of one")
    return values[0]
