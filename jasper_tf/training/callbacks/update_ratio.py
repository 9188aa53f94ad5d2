"""Ratio of update to weights for each layer."""

from __future__ import annotations

import keras
import numpy as np


class UpdateRatio:
    """Norm of a step's update divided by the norm of the weights before it, for each kernel of a model.

    About 1e-3 is usual; a layer far above the others is unstable, one far below learns nothing. Kernels are the
    trainable variables with two or more axes.

    The weights before the step are copied to the host: the accelerator may have no memory for a second model. Other
    steps cost nothing.
    """

    def __init__(self, model: keras.Model):
        self._kernels = {
            variable.path.removesuffix("/kernel"): variable
            for variable in model.trainable_variables
            if len(variable.shape) > 1
        }
        self._before: dict[str, np.ndarray] = {}

    def before_step(self) -> None:
        """Copies the weights."""
        self._before = {name: np.array(kernel) for name, kernel in self._kernels.items()}

    def after_step(self) -> dict[str, float]:
        """The ratio of each layer, by its path ("block_0/conv_0"); empty unless `before_step` was called."""
        ratios = {
            name: _norm(np.array(self._kernels[name]) - before) / max(_norm(before), 1e-12)
            for name, before in self._before.items()
        }
        self._before = {}
        return ratios


def _norm(values: np.ndarray) -> float:
    return float(np.sqrt(np.sum(np.square(values, dtype=np.float64))))
