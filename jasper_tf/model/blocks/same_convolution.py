"""Convolutions with "same" padding for training on a CPU, with gradients that are faster than oneDNN's."""

import math

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf

# Below these, in values of the kernel, oneDNN's own gradients are as fast.
_WIDE_FOR_KERNEL_GRADIENT = 2**21
_WIDE_FOR_INPUT_GRADIENT = 2**23
_WIDE_FOR_DEPTHWISE_GRADIENT = 2**11
_MAX_WINDOW_BYTES = 2**28


def on_tensorflow_cpu() -> bool:
    """Whether Keras runs on TensorFlow, without a GPU."""
    return keras.backend.backend() == "tensorflow" and not tf.config.list_logical_devices("GPU")


def has_faster_gradients(kernel_shape: tuple[int, ...], dilation: int) -> bool:
    """Whether a step through `convolve_same` is faster than through the backend's convolution: wide kernels on a CPU.

    Measured on 2 cores with AVX-512, 400 frames: oneDNN reaches 250 to 340 GFLOP/s in these gradients, a matrix product
    with its copy of the windows 400 to 450.
    """
    wide = kernel_shape[0] > 1 and (dilation > 1 or math.prod(kernel_shape) >= _WIDE_FOR_KERNEL_GRADIENT)
    return wide and on_tensorflow_cpu()


def has_faster_depthwise_gradients(width: int, channels: int) -> bool:
    """Whether a step through `convolve_depthwise_same` is faster than through the backend's convolution."""
    return width > 1 and width * channels >= _WIDE_FOR_DEPTHWISE_GRADIENT and on_tensorflow_cpu()


def convolve_same(x, kernel, dilation: int = 1):
    """Convolves x [B, T, C] with kernel [k, C, filters], k odd: [B, T, filters]; the gradients are matrix products."""
    kernel = tf.convert_to_tensor(kernel)  # a custom gradient takes no variables
    width, channels, filters = kernel.shape
    offsets = dilation * tf.range(width)

    def windows(frames, offsets):
        """[B, T, C] -> [B * T, k * C], the frames that each output sees; faster copied anew than kept."""
        reach = dilation * (width - 1) // 2
        padded = tf.pad(frames, ((0, 0), (reach, reach), (0, 0)))
        index = tf.range(tf.shape(frames)[1])[:, None] + offsets
        return tf.reshape(tf.gather(padded, index, axis=1), (-1, width * frames.shape[-1]))

    def fitting_rows(frames):
        """Utterances whose windows fit the limit together, at least 1."""
        row = tf.shape(frames)[1] * (width * frames.shape[-1] * frames.dtype.size)
        return tf.maximum(1, _MAX_WINDOW_BYTES // tf.maximum(row, 1))

    def kernel_gradient(x, upstream):
        step = fitting_rows(x)

        def product(first):
            rows = slice(first, first + step)
            return tf.matmul(windows(x[rows], offsets), tf.reshape(upstream[rows], (-1, filters)), transpose_a=True)

        _, total = tf.while_loop(
            lambda first, _: first < tf.shape(x)[0],
            lambda first, total: (first + step, total + product(first)),
            (step, product(0)),
        )
        return tf.reshape(total, kernel.shape)

    def input_gradient(upstream):
        if math.prod(kernel.shape) < _WIDE_FOR_INPUT_GRADIENT:
            shape = tf.shape(tf.expand_dims(x, 1))
            wide = tf.expand_dims(upstream, 1), tf.expand_dims(kernel, 0)
            return tf.squeeze(tf.nn.conv2d_transpose(*wide, shape, 1, dilations=(1, dilation)), 1)

        def by_product():
            turned = tf.reshape(tf.transpose(kernel, (1, 0, 2)), (channels, -1))
            return tf.matmul(windows(upstream, offsets[::-1]), turned, transpose_b=True)

        def by_convolution():
            return convolve(upstream, tf.transpose(kernel[::-1], (0, 2, 1)))

        fits = tf.shape(x)[0] <= fitting_rows(upstream)
        return tf.reshape(tf.cond(fits, by_product, by_convolution), tf.shape(x))

    def convolve(x, kernel):
        y = tf.nn.conv2d(tf.expand_dims(x, 1), tf.expand_dims(kernel, 0), 1, "SAME", dilations=(1, dilation))
        return tf.squeeze(y, 1)

    @tf.custom_gradient
    def convolution(x, kernel):
        return convolve(x, kernel), lambda upstream: (input_gradient(upstream), kernel_gradient(x, upstream))

    return convolution(x, kernel)


def convolve_depthwise_same(x, kernel, dilation: int = 1):
    """Convolves each channel of x [B, T, C] with its own kernel of [k, C]: [B, T, C]; dilation * (k - 1) is even.

    Both gradients are convolutions like it: that of the kernel, of an utterance with its upstream gradient as a kernel
    of T frames. Measured on 2 cores with AVX-512, 512 channels: oneDNN's own takes 4 times as long for 4 utterances of
    400 frames, 37 times for 32 of 800.
    """
    kernel = tf.convert_to_tensor(kernel)
    width, channels = kernel.shape
    reach = dilation * (width - 1) // 2

    def convolve(x, kernel):
        wide, kernel = tf.expand_dims(x, 1), kernel[None, :, :, None]
        y = tf.nn.depthwise_conv2d(wide, kernel, [1, 1, 1, 1], "SAME", dilations=(1, dilation))
        return tf.reshape(y, tf.shape(x))

    def kernel_gradient(x, upstream):
        padded = tf.pad(x, ((0, 0), (reach, reach), (0, 0)))
        # Float32 at least: in bfloat16 a long sum would lose what each utterance adds.
        dtype = keras.backend.result_type(x.dtype, "float32")

        def add_utterance(b, total):
            frames, as_kernel = padded[b][None, None], upstream[b][None, :, :, None]
            one = tf.nn.depthwise_conv2d(frames, as_kernel, [1, dilation, dilation, 1], "VALID")
            return b + 1, total + tf.cast(tf.reshape(one, kernel.shape), dtype)

        total = tf.while_loop(lambda b, _: b < tf.shape(x)[0], add_utterance, (0, tf.zeros(kernel.shape, dtype)))[1]
        return tf.cast(total, x.dtype)

    @tf.custom_gradient
    def convolution(x, kernel):
        return convolve(x, kernel), lambda upstream: (convolve(upstream, kernel[::-1]), kernel_gradient(x, upstream))

    return convolution(x, kernel)
