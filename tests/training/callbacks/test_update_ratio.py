"""Ratio of update to weights."""

import keras
import numpy as np
import pytest

from jasper_tf.training.callbacks.update_ratio import UpdateRatio


def test_ratio_of_each_kernel():
    layers = [
        keras.layers.Conv1D(3, 2, name="conv"),
        keras.layers.BatchNormalization(),
        keras.layers.Dense(1, name="d"),
    ]
    model = keras.Sequential([keras.Input((8, 2)), *layers])
    model.compile(keras.optimizers.SGD(0.1), "mse")
    ratio = UpdateRatio(model)
    assert ratio.after_step() == {}
    draw = np.random.default_rng(0)
    kernels = {"conv": model.get_layer("conv").kernel, "d": model.get_layer("d").kernel}
    before = {name: np.array(kernel, np.float64) for name, kernel in kernels.items()}
    ratio.before_step()
    model.train_on_batch(draw.normal(size=(4, 8, 2)), draw.normal(size=(4, 7, 1)))
    found = ratio.after_step()
    assert {path.split("/")[-1] for path in found} == {"conv", "d"}
    for path, value in found.items():
        old = before[path.split("/")[-1]]
        moved = np.linalg.norm(np.array(kernels[path.split("/")[-1]], np.float64) - old)
        assert value == pytest.approx(moved / np.linalg.norm(old), rel=1e-6) and value > 0
    assert ratio.after_step() == {}
