"""Random numbers of 16 bits: their distribution, their independence, and any shape."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.features.random_numbers import drop, normal


def seeded(seed=1):
    return keras.random.SeedGenerator(seed)


@pytest.mark.parametrize("rate", [0.1, 0.5, 1e-5, 0.99])
def test_dropout_has_its_rate_and_keeps_the_mean(rate):
    size = 3_000_001
    y = drop(tf.ones(size), rate, seeded()).numpy()
    share = round(rate * 2**16) / 2**16
    assert np.mean(y == 0) == pytest.approx(share, abs=5 * np.sqrt(share * (1 - share) / size))
    np.testing.assert_allclose(y[y > 0], 1 / (1 - share), rtol=1e-6)


def test_dropout_is_independent_of_place_and_step():
    seed = seeded()
    first, second = (drop(tf.ones((1000, 1001)), 0.5, seed).numpy().ravel() - 1 for _ in range(2))
    others = [first[lag:] for lag in (1, 2, 3, 4, 1001)] + [second]
    for other in others:
        assert abs(np.mean(first[: len(other)] * other)) < 5 / 1000
    np.testing.assert_array_equal(first, drop(tf.ones((1000, 1001)), 0.5, seeded()).numpy().ravel() - 1)


def test_the_gradient_of_dropout_goes_through_what_is_kept():
    x = tf.random.normal((3, 5, 7), seed=1)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = drop(x, 0.3, seeded())
    np.testing.assert_allclose(tape.gradient(y, x), y / x, rtol=1e-6)


@pytest.mark.parametrize("shape", [(0, 4), (3, 5, 7), (8, 2)])
def test_any_shape_and_type(shape):
    for dtype in ("float32", "bfloat16"):
        y = drop(tf.ones(shape, dtype), 0.5, seeded())
        assert y.shape == shape and y.dtype == dtype
    assert normal(shape, seeded()).shape == shape


def test_normal_numbers_are_normal_and_white():
    seed = seeded()
    x, other = (normal((1001, 1001), seed).numpy().ravel().astype(np.float64) for _ in range(2))
    moments = [np.mean(x**power) for power in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.03)
    assert np.mean(np.abs(x) > 3) == pytest.approx(0.0027, rel=0.1)
    for lag in range(1, 9):
        assert abs(np.mean(x[lag:] * x[:-lag])) < 5 / 1000
    assert abs(np.mean(x * other)) < 5 / 1000
