"""Updates and validates the moving average of the weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras

from jasper_tf.optim.exponential_moving_average import SUFFIX, ExponentialMovingAverage
from jasper_tf.training.run.training_state import TrainingState


class AverageWeights(keras.callbacks.Callback):
    """Updates `average` after each step, and evaluates it after each validation.

    Its results join those of the model's own weights as `val_wer_ema`, `val_cer_ema` and `val_loss_ema`. Put it before
    every callback that saves, or reads results.

    Args:
        average: of the model's weights.
        state: of the run; its metrics get the results.
        evaluate: evaluates the model with its current weights: `{"loss": ..., "wer": ...}`; None for no validation.
    """

    def __init__(
        self,
        average: ExponentialMovingAverage,
        state: TrainingState,
        evaluate: Callable[[], Mapping[str, float]] | None = None,
    ):
        super().__init__()
        self.average = average
        self.state = state
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
        # Later callbacks read the counts of the training and of the model's own validation.
        for variable, value in zip(counts, before, strict=True):
            variable.assign(value)
        averaged = {
            f"val_{name}{SUFFIX}": value
            for name, value in results.items()
            if name.split("_")[0] in ("loss", "wer", "cer")
        }
        logs.update(averaged)
        self.state.metrics.update(averaged)
