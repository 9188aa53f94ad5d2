"""An exponential moving average of the weights, beside the weights themselves."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager

import keras
import tensorflow as tf

from jasper_tf.training.run.checkpoint import Position

SUFFIX = "_ema"


class WeightAverage:
    """`average <- decay average + (1 - decay) weight` after each optimizer step, as NeMo's EMA.

    It begins at the initial weights, and takes in the running statistics of batch norm too, on which averaged weights
    depend. (Keras's `use_ema` leaves the statistics out, and its `fit` ends by overwriting the weights.) A step that a
    loss scale left out does not count.

    It becomes `model.weight_average`, and part of the model's checkpoints.

    Args:
        model: compiled; under the strategy of the training.
        decay: in [0, 1].
        start_step: steps whose weights the average takes as they are.
        every_n_steps: steps from one update to the next.
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
        model.weight_average = self

    def begin(self) -> None:
        """To be called before the first step of a training, and of one that goes on from a checkpoint."""
        step = int(keras.ops.convert_to_numpy(self.model.optimizer.iterations))
        if step == 0:
            for average, variable in zip(self.variables, self.model.weights, strict=True):
                average.assign(variable)
        self._seen.assign(step)

    def update(self) -> None:
        """To be called after each step."""
        with self.model.distribute_strategy.scope():
            self._move_traced()

    def _move(self) -> None:
        step = tf.cast(tf.convert_to_tensor(self.model.optimizer.iterations), tf.int64)
        due = tf.logical_and(step != tf.convert_to_tensor(self._seen), step % self.every_n_steps == 0)
        copy = tf.logical_and(due, step <= self.start_step)
        for average, variable in zip(self.variables, self.model.weights, strict=True):
            old, new = tf.convert_to_tensor(average), tf.convert_to_tensor(variable)
            share = tf.cast(tf.where(due, 1 - self.decay, 0.0), old.dtype)
            average.assign(tf.where(copy, new, old + share * (new - old)))
        self._seen.assign(step)

    @contextmanager
    def in_model(self) -> Iterator[None]:
        """The model has the averaged weights inside of the block, its own behind it, bit for bit."""
        weights = self.model.weights
        before = [keras.ops.convert_to_numpy(v) for v in weights]
        try:
            for variable, average in zip(weights, self.variables, strict=True):
                variable.assign(average)
            yield
        finally:
            for variable, value in zip(weights, before, strict=True):
                variable.assign(value)


class AverageWeights(keras.callbacks.Callback):
    """Keeps `average` up, and after each validation scores it as well.

    Its results join those of the model's own weights as `val_wer_ema`, `val_cer_ema` and `val_loss_ema`. Put it before
    every callback that saves, or reads results.

    Args:
        average: of the model's weights.
        position: where the run stands; its metrics get the results.
        evaluate: scores the model as it is: `{"loss": ..., "wer": ...}`; None for no validation.
    """

    def __init__(
        self, average: WeightAverage, position: Position, evaluate: Callable[[], Mapping[str, float]] | None = None
    ):
        super().__init__()
        self.average = average
        self.position = position
        self.evaluate = evaluate

    def on_train_begin(self, logs=None):
        self.average.begin()

    def on_train_batch_end(self, batch, logs=None):
        self.average.update()

    def on_epoch_end(self, epoch, logs=None):
        if self.evaluate is None or not any(key.startswith("val_") for key in logs):
            return
        counts = [v for metric in self.model.metrics for v in metric.variables]
        before = [keras.ops.convert_to_numpy(v) for v in counts]
        with self.average.in_model():
            results = self.evaluate()
        # The callbacks behind this one read what the training and the raw validation counted.
        for variable, value in zip(counts, before, strict=True):
            variable.assign(value)
        averaged = {
            f"val_{name}{SUFFIX}": value
            for name, value in results.items()
            if name.split("_")[0] in ("loss", "wer", "cer")
        }
        logs.update(averaged)
        self.position.metrics.update(averaged)


def weights_for(model: keras.Model, monitor: str) -> Sequence[keras.Variable]:
    """The weights that a metric is of: the average for `..._ema`, else the model's own; in the order of the model."""
    return model.weight_average.variables if monitor.endswith(SUFFIX) else model.weights
