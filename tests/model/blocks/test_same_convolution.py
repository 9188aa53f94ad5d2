"""The convolutions for training on a CPU: the backend's results, in parts and of no rows too."""

import functools

import numpy as np
import pytest
import tensorflow as tf
from keras import ops

from jasper_tf.model.blocks import same_convolution
from jasper_tf.model.blocks.masked_conv import MaskedConv1D

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(size=(5, 50, 12)).astype(np.float32)
KERNEL = RANDOM.normal(size=(7, 12, 20)).astype(np.float32)
UPSTREAM = RANDOM.normal(size=(5, 50, 20)).astype(np.float32)


def results(convolve, rows, kernel=KERNEL, upstream=UPSTREAM):
    """Output and gradients in a graph of unknown shapes."""
    signature = [tf.TensorSpec([None, None, given.shape[-1]]) for given in (X, upstream)]

    @tf.function(input_signature=signature, autograph=False)
    def run(x, upstream):
        kernel_ = tf.constant(kernel)
        with tf.GradientTape() as tape:
            tape.watch((x, kernel_))
            # TensorFlow's oneDNN kernels return the shape of the input for no rows.
            y = tf.reshape(convolve(x, kernel_), tf.shape(upstream))
            total = tf.reduce_sum(y * upstream)
        return y, *tape.gradient(total, (x, kernel_))

    return run(X[:rows], upstream[:rows])


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("window_bytes", [2**28, 40_000])  # the second: two rows at a time, of five
def test_results_are_those_of_the_backend(dilation, window_bytes, monkeypatch):
    monkeypatch.setattr(same_convolution, "_MAX_WINDOW_BYTES", window_bytes)
    for widest in (0, 2**23):
        monkeypatch.setattr(same_convolution, "_WIDE_FOR_INPUT_GRADIENT", widest)
        for rows in (5, 0):
            ours = results(lambda x, kernel: same_convolution.convolve_same(x, kernel, dilation), rows)
            options = {"strides": 1, "padding": "same", "dilation_rate": dilation}
            theirs = results(lambda x, kernel, options=options: ops.conv(x, kernel, **options), rows)
            for one, other in zip(ours, theirs, strict=True):
                assert one.shape == other.shape
                np.testing.assert_allclose(one, other if rows else np.zeros(other.shape), atol=1e-4)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("rows", [5, 1, 0])
def test_depthwise_results_are_the_sums_of_the_definition(dilation, rows):
    kernel, upstream = KERNEL[..., 0], UPSTREAM[..., :12]
    depthwise = functools.partial(same_convolution.convolve_depthwise_same, dilation=dilation)
    y, x_gradient, kernel_gradient = results(depthwise, rows, kernel, upstream)
    reach, frames = 3 * dilation, X.shape[1]
    padded, expected = (
        np.pad(X[:rows].astype(np.float64), ((0, 0), (reach, reach), (0, 0))),
        np.zeros((rows, frames, 12)),
    )
    expected_x, expected_kernel = np.zeros_like(padded), np.zeros(kernel.shape)
    for k in range(7):
        seen = slice(k * dilation, k * dilation + frames)
        expected += padded[:, seen] * kernel[k]
        expected_x[:, seen] += upstream[:rows] * kernel[k]
        expected_kernel[k] = (padded[:, seen] * upstream[:rows]).sum((0, 1))
    np.testing.assert_allclose(y, expected, atol=1e-4)
    np.testing.assert_allclose(x_gradient, expected_x[:, reach : reach + frames], atol=1e-4)
    np.testing.assert_allclose(kernel_gradient, expected_kernel, atol=1e-4)


def test_a_depthwise_gradient_of_many_utterances_keeps_what_each_adds_in_bfloat16():
    x, kernel = tf.ones((600, 8, 1), tf.bfloat16), tf.ones((1, 1), tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(kernel)
        total = tf.reduce_sum(tf.cast(same_convolution.convolve_depthwise_same(x, kernel), tf.float32))
    np.testing.assert_allclose(tf.cast(tape.gradient(total, kernel), tf.float32), 600 * 8, rtol=2**-8)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("filters, options", [(20, {}), (None, {}), (None, {"heads": 4})])
def test_the_layer_learns_alike_in_training_and_outside(filters, options, dtype, monkeypatch):
    monkeypatch.setattr(same_convolution, "_WIDE_FOR_DEPTHWISE_GRADIENT", 0)
    layer = MaskedConv1D(filters, 7, dilation=2, dtype=dtype, **options)
    found = []
    for training in (True, False):
        with tf.GradientTape() as tape:
            y = layer(X, training=training)
            total = tf.reduce_sum(tf.cast(y, tf.float32) * UPSTREAM[..., : y.shape[-1]])
        found.append((tf.cast(y, tf.float32), tape.gradient(total, layer.kernel.value)))
    assert y.dtype == layer.compute_dtype
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=(1e-4 if dtype == "float32" else 2e-2) * np.abs(other).max())


@pytest.mark.parametrize("channels", [12, 512])
def test_wide_depthwise_kernels_do_without_the_gradient_of_the_backend(channels):
    layer = MaskedConv1D(None, 5)
    layer.build((None, None, channels))

    @tf.function(input_signature=[tf.TensorSpec([None, None, channels])])
    def gradient(x):
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(layer(x, training=True))
        return tape.gradient(total, layer.kernel.value)

    kinds = {node.op for node in gradient.get_concrete_function().graph.as_graph_def().node}
    assert ("DepthwiseConv2dNativeBackpropFilter" in kinds) == (channels == 12)
