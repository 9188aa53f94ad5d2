"""Convolution along time with masked padding."""

import keras
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.model.blocks.initialization import weight_initializer
from jasper_tf.model.blocks.same_convolution import (
    convolve_depthwise_same,
    convolve_same,
    has_faster_depthwise_gradients,
    has_faster_gradients,
)
from jasper_tf.model.blocks.strided_convolution import convolve_strided, has_safer_gradients


@keras.saving.register_keras_serializable(package="jasper_tf")
class MaskedConv1D(keras.layers.Layer):
    """Convolution without bias over frames, its input zeroed beyond each length first.

    Zero padding is the same on both sides, `dilation * (kernel - 1) // 2`, for every stride (Keras's "same" differs
    when the stride is above 1). NeMo: `MaskedConv1d`.

    Args:
        filters: output channels; None makes it depthwise (channels in = channels out, one kernel each).
        kernel: width in frames.
        stride: frames between outputs.
        dilation: frames between taps. Not above 1 together with a stride above 1.
        groups: of channels that are convolved separately.
        heads: depthwise only: channel c uses kernel `c % heads`; -1 gives each channel its own.
        future_context: frames of right context; -1 is symmetric, and so is a value not below `kernel`.
        init_mode: see `weight_initializer`.
        seed: of the initial weights.

    Call arguments:
        x: [B, T, C].
        valid: [B, T, 1], 1 on valid frames and 0 beyond, in the dtype of `x`; None masks nothing.
        pad: False for `x` with the frames that the padding stands for, as in a stream.

    Returns:
        [B, T', filters].

    Raises:
        UserError: arguments that contradict each other.
    """

    def __init__(
        self,
        filters: int | None,
        kernel: int,
        stride: int = 1,
        dilation: int = 1,
        groups: int = 1,
        heads: int = -1,
        future_context: int = -1,
        init_mode: str | None = "xavier_uniform",
        seed: int = 0,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if stride > 1 and dilation > 1:
            raise UserError(f"stride {stride} and dilation {dilation}: only one of them may be above 1")
        if heads != -1 and filters is not None:
            raise UserError(f"heads {heads}: only a depthwise convolution (separable: true) has heads")
        self.filters = filters
        self.kernel_width = kernel
        self.stride = stride
        self.dilation = dilation
        self.groups = groups
        self.heads = heads
        self.future_context = future_context
        self.init_mode = init_mode
        self.seed = seed
        reach = dilation * (kernel - 1)
        self.padding = (reach // 2, reach // 2)
        if 0 <= future_context < kernel:
            # With dilation NeMo pads dilation - 1 frames too many on the left; its checkpoints are trained that way.
            self.padding = (dilation * (kernel - future_context) - 1, dilation * future_context)

    @property
    def keeps_length(self) -> bool:
        """Whether T' = T."""
        return self.stride == 1 and sum(self.padding) == self.dilation * (self.kernel_width - 1)

    def output_length(self, length):
        """Returns the output frames for input frames: an int, NumPy array or tensor. NeMo: `get_seq_len`."""
        last_start = length + sum(self.padding) - self.dilation * (self.kernel_width - 1) - 1
        # abs is truncation towards zero here: last_start is at least -1, and a length of 0 gives 1 when striding.
        return last_start + 1 if self.stride == 1 else abs(last_start) // self.stride + 1

    def build(self, x_shape, valid_shape=None):
        channels = x_shape[-1]
        if self.filters is None:
            if self.heads > 0 and channels % self.heads:
                raise UserError(f"heads {self.heads}: does not divide the {channels} channels")
            shape = (self.kernel_width, 1, self.heads if self.heads > 0 else channels)
        else:
            if channels % self.groups or self.filters % self.groups:
                raise UserError(f"groups {self.groups}: does not divide {channels} and {self.filters} channels")
            shape = (self.kernel_width, channels // self.groups, self.filters)
        self.kernel = self.add_weight(
            name="kernel", shape=shape, initializer=weight_initializer(self.init_mode, self.seed)
        )

    def call(self, x, valid=None, pad=True, training=None):
        batch, frames, channels = ops.shape(x)
        if valid is not None:
            x = x * valid
        # "same" pads inside the convolution, without a copy of x; at stride 1 it is the symmetric padding.
        same = pad and self.keeps_length and self.padding[0] == self.padding[1]
        if pad and not same and any(self.padding):
            x = ops.pad(x, ((0, 0), self.padding, (0, 0)))
            # LiteRT's converter forgets the number of channels in `pad`, and then has no builtin convolution.
            x = ops.reshape(x, (batch, frames + sum(self.padding), channels))
        # The reshape sets the shape of an empty batch: TensorFlow's oneDNN kernels return the shape of the input.
        unpadded = frames if pad else frames - sum(self.padding)
        shape = (batch, self.output_length(unpadded), self.filters or channels)
        depthwise = training and same and self.filters is None
        if depthwise and has_faster_depthwise_gradients(self.kernel_width, channels):
            return ops.reshape(convolve_depthwise_same(x, self._depthwise_kernel(channels), self.dilation), shape)
        dense = self.filters is not None and self.groups == 1
        if training and dense and same and self.kernel_width == 1:
            return ops.matmul(x, self.kernel[0])
        if training and dense and same and has_faster_gradients(self.kernel.shape, self.dilation):
            return ops.reshape(convolve_same(x, self.kernel, self.dilation), shape)
        if training and dense and self.stride > 1 and has_safer_gradients(self.compute_dtype):
            return ops.reshape(convolve_strided(x, ops.convert_to_tensor(self.kernel), self.stride), shape)
        return ops.reshape(self._convolve(x, "same" if same else "valid"), shape)

    def _convolve(self, x, padding: str):
        options = {"strides": self.stride, "padding": padding, "dilation_rate": self.dilation}
        options["data_format"] = "channels_last"
        if self.filters is None:
            kernel = self._depthwise_kernel(x.shape[-1])[..., None]
            # For an empty batch TensorFlow's kernel returns an undefined gradient; this makes it 0.
            kernel = ops.where(ops.shape(x)[0] > 0, kernel, ops.zeros_like(kernel))
            return ops.depthwise_conv(x, kernel, **options)
        if self.groups == 1:
            return ops.conv(x, self.kernel, **options)
        # TensorFlow has grouped convolution on CPU only under XLA.
        parts = zip(ops.split(x, self.groups, axis=-1), ops.split(self.kernel, self.groups, axis=-1), strict=True)
        return ops.concatenate([ops.conv(part, kernel, **options) for part, kernel in parts], axis=-1)

    def _depthwise_kernel(self, channels: int):
        """[k, C], from [k, 1, C] or [k, 1, heads]."""
        kernel = ops.convert_to_tensor(self.kernel)[:, 0]
        return ops.tile(kernel, (1, channels // self.heads)) if self.heads > 0 else kernel

    def compute_output_shape(self, x_shape, valid_shape=None):
        batch, frames, channels = x_shape
        return batch, None if frames is None else self.output_length(frames), self.filters or channels

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel": self.kernel_width,
            "stride": self.stride,
            "dilation": self.dilation,
            "groups": self.groups,
            "heads": self.heads,
            "future_context": self.future_context,
            "init_mode": self.init_mode,
            "seed": self.seed,
        }
