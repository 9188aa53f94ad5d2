"""Normal random numbers: their distribution, their independence, and any shape."""

import keras
import numpy as np
import pytest

from jasper_tf.features.random_numbers import normal


def test_they_are_normal_and_white():
    seed = keras.random.SeedGenerator(1)
    x, other = (normal((1001, 1001), seed).numpy().ravel().astype(np.float64) for _ in range(2))
    moments = [np.mean(x**power) for power in (1, 2, 3, 4)]
    np.testing.assert_allclose(moments, [0, 1, 0, 3], atol=0.03)
    assert np.mean(np.abs(x) > 3) == pytest.approx(0.0027, rel=0.1)
    for lag in (*range(1, 33), 1001):
        assert abs(np.mean(x[lag:] * x[:-lag])) < 5 / 1000
    assert abs(np.mean(x * other)) < 5 / 1000
    np.testing.assert_array_equal(x, normal((1001, 1001), keras.random.SeedGenerator(1)).numpy().ravel())


@pytest.mark.parametrize("shape", [(0, 4), (3, 5, 7), (8, 4)])
def test_any_shape(shape):
    assert normal(shape, keras.random.SeedGenerator(1)).shape == shape
