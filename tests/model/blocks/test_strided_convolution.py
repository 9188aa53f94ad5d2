"""Strided convolution as one of stride 1: the backend's results, and no strided gradient in 16 bits."""

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from jasper_tf.model.blocks.masked_conv import MaskedConv1D
from jasper_tf.model.blocks.strided_convolution import convolve_strided

RANDOM = np.random.default_rng(5)


def results(convolve, x, kernel):
    """Output and gradients."""
    with tf.GradientTape() as tape:
        tape.watch((x, kernel))
        y = convolve(x, kernel)
        weights = tf.reshape(tf.cast(tf.range(tf.size(y)) % 7, y.dtype), tf.shape(y))
        total = tf.reduce_sum(y * weights)
    return y, *tape.gradient(total, (x, kernel))


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("width", [1, 4, 7])
@pytest.mark.parametrize("frames", [7, 8, 30])
def test_results_are_those_of_the_backend(frames, width, stride):
    x, kernel = (tf.constant(RANDOM.normal(size=size), tf.float32) for size in ((3, frames, 5), (width, 5, 6)))
    ours = results(lambda x, kernel: convolve_strided(x, kernel, stride), x, kernel)
    theirs = results(lambda x, kernel: ops.conv(x, kernel, strides=stride, padding="valid"), x, kernel)
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_the_layer_trains_in_16_bits_without_a_strided_gradient(dtype):
    layer = MaskedConv1D(20, 11, stride=2, dtype=dtype)
    layer.build((None, None, 12))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 12])])
    def step(x):
        with tf.GradientTape() as tape:
            y = tf.cast(layer(x, training=True), tf.float32)
            total = tf.reduce_sum(y * y)
        return y, tape.gradient(total, layer.kernel.value)

    x = RANDOM.normal(size=(4, 37, 12)).astype(np.float32)
    y, gradient = step(x)
    strides = {
        node.attr["strides"].list.i[2]
        for node in step.get_concrete_function().graph.as_graph_def().node
        if node.op == "Conv2DBackpropFilter"
    }
    assert strides == ({1} if dtype == "mixed_bfloat16" else {2})
    with tf.GradientTape() as tape:
        plain = tf.cast(layer(x, training=False), tf.float32)
        total = tf.reduce_sum(plain * plain)
    tolerance = 1e-4 if dtype == "float32" else 2e-2
    np.testing.assert_allclose(y, plain, atol=tolerance * np.abs(plain).max())
    expected = tape.gradient(total, layer.kernel.value)
    np.testing.assert_allclose(gradient, expected, atol=tolerance * np.abs(expected).max())
