"""Exponential moving average of a model's weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

SUFFIX = "_ema"


class ExponentialMovingAverage:
    """Exponential moving average of the weights, updated after each optimizer step, as NeMo's EMA.

    `average <- decay average + (1 - decay) weight`. It starts at the initial weights and includes the running
    statistics of batch norm, on which averaged weights depend. (Keras's `use_ema` leaves the statistics out, and its
    `fit` ends by overwriting the weights.) A step that a loss scale skipped does not count.

    It becomes `model.moving_average` and part of the model's checkpoints.

    Args:
        model: compiled; under the strategy of the training.
        decay: in [0, 1].
        start_step: during the first `start_step` steps the average is a copy of the weights.
        every_n_steps: steps between updates.
    """

    def __init__(self, model: keras.Model, decay: float = 0.999, start_step: int = 0, every_n_steps: int = 1):
        self.model = model
        self.decay = decay
        self.start_step = start_step
        self.every_n_steps = every_n_steps
        with model.distribute_strategy.scope():
            self.variables = [
                keras.Variable(keras.ops.convert_to_numpy(v), dtype=v.dtype, trainable=False, name=f"{v.name}_average")
                for v in model.weights
            ]
            self._seen = keras.Variable(0, dtype="int64", trainable=False, name="seen")
        self._move_traced = tf.function(self._move, autograph=False)
        model.moving_average = self

    def begin(self) -> None:
        """Starts the average; call it before the first step, also after a checkpoint is restored."""
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if step == 0:
            for average, variable in zip(self.variables, self.model.weights, strict=True):
                average.assign(variable)
        self._seen.assign(step)

    def update(self) -> None:
        """Updates the average; call it after each step."""
        with self.model.distribute_strategy.scope():
            self._move_traced()

    def _move(self) -> None:
        step = tf.cast(tf.convert_to_tensor(self.model.optimizer.iterations), tf.int64)
        due = tf.logical_and(step != tf.convert_to_tensor(self._seen), step % self.every_n_steps == 0)
        copy = tf.logical_and(due, step <= self.start_step)
        for average, variable in zip(self.variables, self.model.weights, strict=True):
            old, new = tf.convert_to_tensor(average), tf.convert_to_tensor(variable)
            rate = tf.cast(tf.where(due, 1 - self.decay, 0.0), old.dtype)
            average.assign(tf.where(copy, new, old + rate * (new - old)))
        self._seen.assign(step)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """Gives the model the averaged weights within a `with` block; restores its own exactly afterwards."""
        weights = self.model.weights
        before = [keras.ops.convert_to_numpy(v) for v in weights]
        try:
            for variable, average in zip(weights, self.variables, strict=True):
                variable.assign(average)
            yield
        finally:
            for variable, value in zip(weights, before, strict=True):
                variable.assign(value)


def weights_for(model: keras.Model, monitor: str) -> Sequence[keras.Variable]:
    """Returns the weights that a metric belongs to: the average for `..._ema`, else the model's; in its order."""
    return model.moving_average.variables if monitor.endswith(SUFFIX) else model.weights
