"""The layers of the encoder alone: twins in NumPy, serialization, replicas."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.features.valid_frames import valid_frames
from jasper_tf.model.blocks.batch_norm import BatchNorm
from jasper_tf.model.blocks.group_norm import GroupNorm
from jasper_tf.model.blocks.initialization import weight_initializer
from jasper_tf.model.blocks.jasper_block import JasperBlock, odd_kernel
from jasper_tf.model.blocks.masked_conv import MaskedConv1D
from jasper_tf.model.blocks.squeeze_excite import SqueezeExcite
from jasper_tf.model.decoder import ConvASRDecoder

RNG = np.random.default_rng(5)
X = RNG.normal(size=(2, 30, 8)).astype(np.float32)
LENGTH = np.array([30, 17], np.int32)


def mask(length):
    return np.asarray(valid_frames(length, 30), np.float32)[:, :, None]


def conv_twin(x, kernel, stride, dilation, padding):
    """Convolution of [T, C] with [k, C, filters] in float64."""
    x = np.pad(x.astype(np.float64), (padding, (0, 0)))
    reach = dilation * (len(kernel) - 1)
    starts = range(0, len(x) - reach, stride)
    return np.array(
        [np.einsum("kc,kcf->f", x[s : s + reach + 1 : dilation], kernel.astype(np.float64)) for s in starts]
    )


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "future_context", "padding"),
    [(5, 1, 1, -1, (2, 2)), (5, 2, 1, -1, (2, 2)), (5, 1, 3, -1, (6, 6)), (7, 1, 1, 1, (5, 1)), (3, 1, 1, 3, (1, 1))],
)
def test_masked_convolution_is_its_twin(kernel, stride, dilation, future_context, padding):
    layer = MaskedConv1D(6, kernel, stride, dilation, future_context=future_context)
    y = layer(X, mask(LENGTH))
    assert y.shape == layer.compute_output_shape(X.shape)
    for row, frames in enumerate(LENGTH):
        masked = X[row] * (np.arange(30) < frames)[:, None]
        np.testing.assert_allclose(
            y[row], conv_twin(masked, layer.kernel.numpy(), stride, dilation, padding), atol=1e-5
        )


NO_ROWS = """
import numpy as np, tensorflow as tf
from jasper_tf.features.valid_frames import valid_frames
from jasper_tf.model.blocks.masked_conv import MaskedConv1D
kinds = [{"filters": 24}, {"filters": 24, "stride": 2}, {"filters": 24, "dilation": 2}, {"filters": 24, "groups": 4}]
kinds += [{"filters": None}, {"filters": None, "stride": 2}, {"filters": None, "heads": 4}]
for kind in kinds:
    layer = MaskedConv1D(kernel=11, **kind)
    layer.build((None, None, 16))

    @tf.function(input_signature=[tf.TensorSpec([None, None, 16]), tf.TensorSpec([None], tf.int32)])
    def run(x, length):
        with tf.GradientTape() as tape:
            y = layer(x, tf.cast(valid_frames(length, tf.shape(x)[1]), tf.float32)[:, :, None]) * 2.0
        return y, tape.gradient(y, layer.trainable_variables)

    for _ in range(10):
        for _ in range(30):  # what memory that nobody wrote to may hold
            tf.fill(layer.kernel.shape, np.nan) * 1.0
        y, gradients = run(tf.zeros((0, 134, 16)), tf.zeros((0,), tf.int32))
        assert y.shape == layer.compute_output_shape((0, 134, 16)), (kind, y.shape)
        assert not np.any(gradients[0]), (kind, gradients[0])
"""


@pytest.mark.parametrize("onednn", ["0", "1"])
@pytest.mark.medium
def test_a_convolution_of_no_rows_has_its_shape_and_no_gradient(onednn):
    """The share of a device or micro-batch can be empty; with oneDNN's kernels and with TensorFlow's own."""
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": onednn}
    done = subprocess.run([sys.executable, "-c", NO_ROWS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("kernel", "factor", "width"), [(11, 1.0, 11), (10, 1.0, 11), (11, 0.5, 5), (3, 0.1, 1)])
def test_kernels_become_odd(kernel, factor, width):
    assert odd_kernel(kernel, factor) == width


def batch_norm_twin(x):
    flat = x.reshape(-1, x.shape[-1]).astype(np.float64)
    mean, variance = flat.mean(0), flat.var(0)
    unbiased = flat.var(0, ddof=1)
    return (x - mean) / np.sqrt(variance + 1e-3), 0.1 * mean, 0.9 + 0.1 * unbiased


@pytest.mark.parametrize("fused", [True, False])
def test_batch_norm_counts_every_frame_and_keeps_the_unbiased_variance(fused, monkeypatch):
    if not fused:
        # The path of the other Keras backends.
        monkeypatch.setattr(BatchNorm, "_fusable", lambda self: False)
    layer = BatchNorm()
    y = layer(X * 3 + 1, training=True)
    expected, mean, variance = batch_norm_twin(X * 3 + 1)
    np.testing.assert_allclose(y, expected, atol=1e-5)
    np.testing.assert_allclose(layer.moving_mean, mean, atol=1e-6)
    np.testing.assert_allclose(layer.moving_variance, variance, atol=1e-6)


def test_batch_norm_keeps_float32_statistics_in_half_precision():
    layer = BatchNorm(dtype="mixed_bfloat16")
    y = layer(tf.cast(X, tf.bfloat16), training=True)
    assert y.dtype == tf.bfloat16
    expected, mean, _ = batch_norm_twin(tf.cast(tf.cast(X, tf.bfloat16), tf.float32).numpy())
    np.testing.assert_allclose(layer.moving_mean, mean, atol=1e-6)
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, atol=0.02)


def test_excitation_averages_valid_frames_only():
    layer = SqueezeExcite(reduction_ratio=4)
    y = layer(X, mask(LENGTH))
    for row, frames in enumerate(LENGTH):
        hidden = np.maximum(X[row, :frames].mean(0) @ layer.squeeze.numpy(), 0)
        gate = 1 / (1 + np.exp(-hidden @ layer.excite.numpy()))
        np.testing.assert_allclose(y[row, :frames], X[row, :frames] * gate, atol=1e-6)
        assert not np.any(y[row, frames:])
    assert np.isfinite(layer(X, mask(np.array([30, 0], np.int32)))).all()


def test_an_excitation_window_moves_in_training_and_is_global_outside():
    layer, valid = SqueezeExcite(reduction_ratio=4, context_size=8), mask(LENGTH)
    draws = {layer(X, valid, training=True).numpy().tobytes() for _ in range(6)}
    assert len(draws) > 1
    everything = SqueezeExcite(reduction_ratio=4)
    everything.build(X.shape)
    everything.set_weights([layer.squeeze.numpy(), layer.excite.numpy()])
    np.testing.assert_array_equal(layer(X, valid), everything(X, valid))


def test_decoder_is_float32_under_mixed_precision():
    decoder = ConvASRDecoder(28, dtype="mixed_bfloat16")
    x = tf.cast(X, tf.bfloat16)
    logits = decoder(x)
    assert logits.dtype == tf.float32 and logits.shape == (2, 30, 29)
    np.testing.assert_allclose(
        logits, tf.cast(x, tf.float32).numpy() @ decoder.kernel.numpy()[0] + decoder.bias.numpy(), atol=1e-5
    )
    assert np.abs(decoder.bias).max() <= 8**-0.5
    assert decoder.compute_output_spec(keras.KerasTensor((2, None, 8), "bfloat16")).dtype == "float32"


def test_dropout_draws_anew_at_each_step_and_not_outside_training():
    block = JasperBlock(8, repeat=2, kernel=3, dropout=0.5)
    (first, _), (second, _) = (block([X], LENGTH, training=True) for _ in range(2))
    assert not np.array_equal(first, second)
    assert 0.3 < np.mean(first.numpy() == 0) < 0.95
    np.testing.assert_array_equal(block([X], LENGTH)[0], block([X], LENGTH)[0])


@pytest.mark.parametrize("mode", ["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", None])
def test_initial_spread_is_torchs(mode):
    fan_in, fan_out = 5 * 64, 5 * 96
    variance = {
        "xavier": 2 / (fan_in + fan_out),
        "kaiming": 2 / fan_in,
        "None": 1 / (3 * fan_in),
    }[str(mode).split("_")[0]]
    weights = weight_initializer(mode, 1)((5, 64, 96)).numpy()
    assert weights.var() == pytest.approx(variance, rel=0.03)
    assert weights.max() == pytest.approx(np.sqrt(3 * variance), rel=0.01) or str(mode).endswith("normal")


@pytest.mark.parametrize(
    ("layer", "inputs"),
    [
        (MaskedConv1D(6, 3, 2, groups=2, init_mode=None, seed=4), (X,)),
        (BatchNorm(momentum=0.5, epsilon=1e-2, synchronized=True), (X,)),
        (GroupNorm(2), (X,)),
        (SqueezeExcite(4, 5, "silu", seed=3), (X, np.ones((2, 30, 1), np.float32))),
        (JasperBlock(8, 1, [5], [2], residual=False, se=True, activation="swish"), ([X], LENGTH)),
        (ConvASRDecoder(4, seed=2), (X,)),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_layer_comes_back_from_its_config(layer, inputs):
    copy = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert type(copy) is type(layer) and copy.get_config() == layer.get_config()
    expected, actual = (tf.nest.flatten(each(*inputs)) for each in (layer, copy))
    for a, b in zip(expected, actual, strict=True):
        np.testing.assert_array_equal(a, b)


REPLICAS = """
import keras, numpy as np, tensorflow as tf
from jasper_tf.model.blocks.batch_norm import BatchNorm
x = (np.random.default_rng(0).normal(size=(4, 9, 3)) * 2 + 50 * np.arange(4)[:, None, None]).astype("float32")
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"], tf.distribute.ReductionToOneDevice())
for synchronized in (True, False):
    alone = BatchNorm()
    whole = alone(x, training=True)
    with strategy.scope():
        layer = BatchNorm(synchronized=synchronized)
        layer.build(x.shape)
    halves = strategy.experimental_distribute_values_from_function(
        lambda context: tf.constant(x[context.replica_id_in_sync_group * 2 :][:2]))
    y = strategy.run(tf.function(lambda half: layer(half, training=True)), (halves,))
    difference = np.abs(np.concatenate(strategy.experimental_local_results(y)) - whole).max()
    statistics = np.abs(layer.moving_variance.numpy() - alone.moving_variance.numpy()).max()
    means = np.abs(layer.moving_mean.numpy() - alone.moving_mean.numpy()).max()
    print(synchronized, difference, statistics, means)
    assert (difference < 1e-5 and statistics < 1e-3) == synchronized and means < 1e-5
"""


def test_synchronized_statistics_are_those_of_the_whole_batch(on_two_devices):
    assert on_two_devices(REPLICAS).count("\n") == 2
