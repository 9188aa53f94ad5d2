"""The convolution for training on a CPU: the backend's results, in parts and of no rows too."""

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


def results(convolve, rows):
    """Output and gradients in a graph of unknown shapes."""

    @tf.function(input_signature=[tf.TensorSpec([None, None, 12]), tf.TensorSpec([None, None, 20])], autograph=False)
    def run(x, upstream):
        kernel = tf.constant(KERNEL)
        with tf.GradientTape() as tape:
            tape.watch((x, kernel))
            # TensorFlow's oneDNN kernels return the shape of the input for no rows.
            y = tf.reshape(convolve(x, kernel), tf.shape(upstream))
            total = tf.reduce_sum(y * upstream)
        return y, *tape.gradient(total, (x, kernel))

    return run(X[:rows], UPSTREAM[:rows])


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


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16"])
def test_the_layer_learns_alike_in_training_and_outside(dtype):
    layer = MaskedConv1D(20, 7, dilation=2, dtype=dtype)
    found = []
    for training in (True, False):
        with tf.GradientTape() as tape:
            y = layer(X, training=training)
            total = tf.reduce_sum(tf.cast(y, tf.float32) * UPSTREAM)
        found.append((tf.cast(y, tf.float32), tape.gradient(total, layer.kernel.value)))
    assert y.dtype == layer.compute_dtype
    for one, other in zip(*found, strict=True):
        np.testing.assert_allclose(one, other, atol=(1e-4 if dtype == "float32" else 2e-2) * np.abs(other).max())
