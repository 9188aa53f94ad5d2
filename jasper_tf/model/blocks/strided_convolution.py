"""Strided convolution as one of stride 1."""

from keras import ops

from jasper_tf.model.blocks.same_convolution import on_tensorflow_cpu


def has_safer_gradients(dtype: str) -> bool:
    """Whether a step needs `convolve_strided`: in 16 bits on a CPU.

    On processors with AMX the gradient that oneDNN gives the kernel of a strided bfloat16 convolution depends on memory
    that nobody wrote (TensorFlow 2.17): once in some thousand steps it is NaN.
    """
    return dtype in ("bfloat16", "float16") and on_tensorflow_cpu()


def convolve_strided(x, kernel, stride: int):
    """Convolves x [B, T, C] with kernel [k, C, filters], "valid": [B, (T - k) // stride + 1, filters].

    `stride` frames are joined to one of stride * C channels, and as many taps of the kernel, with zeros after its end.
    """
    batch, frames, channels = ops.shape(x)
    width, _, filters = kernel.shape
    taps = -(-width // stride)
    joined = (frames - width) // stride + taps
    x = ops.pad(x, ((0, 0), (0, stride - 1), (0, 0)))[:, : joined * stride]
    kernel = ops.pad(kernel, ((0, taps * stride - width), (0, 0), (0, 0)))
    wide = ops.reshape(kernel, (taps, stride * channels, filters))
    return ops.conv(
        ops.reshape(x, (batch, joined, stride * channels)), wide, padding="valid", data_format="channels_last"
    )
