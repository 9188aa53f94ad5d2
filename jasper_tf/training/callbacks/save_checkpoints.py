"""Saves checkpoints and the best model of a run."""

from __future__ import annotations

import math
import time
from dataclasses import replace
from pathlib import Path

import keras

from jasper_tf.io.atomic_write import atomic_path
from jasper_tf.model.keras_internals import BestModelCheckpoint
from jasper_tf.optim.exponential_moving_average import weights_for
from jasper_tf.training.run.checkpoint_manager import CheckpointManager, require_finite
from jasper_tf.training.run.training_state import TrainingState


class SaveCheckpoints(BestModelCheckpoint):
    """Saves a checkpoint after each epoch, every `every_n_train_steps` and every `interval_s`, and the best model.

    Args:
        checkpoints: the run's; None writes the model only.
        model_file: `model.keras` of the run; replaced whenever `monitor` is at its best (at each epoch's end when there
            is no validation).
        state: of the run.
        monitor: the validation metric.
        mode: "min" for a metric that is better when lower, "max" for the others.
        every_n_train_steps: also in the middle of an epoch; None for epochs only.
        interval_s: seconds from one checkpoint to the next inside an epoch; None for no such checkpoints.

    Raises:
        DivergedError: from within `fit`; the weights are not finite, and what was saved before stays.
        UserError: from within `fit`; a file cannot be written, for example because the disk is full.
    """

    def __init__(
        self,
        checkpoints: CheckpointManager | None,
        model_file: Path,
        state: TrainingState,
        monitor: str = "val_wer",
        every_n_train_steps: int | None = None,
        interval_s: float | None = None,
        mode: str = "min",
    ):
        super().__init__(model_file, monitor, mode=mode, save_best_only=True, initial_value_threshold=state.best)
        self.checkpoints = checkpoints
        self.state = state
        self.every_n_train_steps = every_n_train_steps
        self.interval_s = interval_s
        self._saved_at = time.monotonic()
        self._plain: keras.Model | None = None

    def save_now(self) -> Path:
        """Saves a checkpoint of the last step, which stays until the next one whatever its rank."""
        assert self.checkpoints is not None
        return self.checkpoints.save(self.model, self.state, keep=True)

    def on_train_batch_end(self, batch, logs=None):
        # The checkpoint of the last step comes after the validation, with its results.
        if self.checkpoints is None or batch + 1 == self.params["steps"] or not _finite(logs):
            return
        due = self.every_n_train_steps and self.state.step % self.every_n_train_steps == 0
        if due or (self.interval_s and time.monotonic() - self._saved_at >= self.interval_s):
            self.checkpoints.save(self.model, self.state)
            self._saved_at = time.monotonic()

    def on_epoch_end(self, epoch, logs=None):
        super().on_epoch_end(epoch, logs)
        self.state.best = None if self.best is None else float(self.best)
        if self.checkpoints:
            self.checkpoints.save(self.model, replace(self.state, epoch=epoch + 1, step_in_epoch=0))
            self._saved_at = time.monotonic()

    def write_model(self, path: str) -> None:
        # A copy without the optimizer: smaller, and loading it needs nothing of the training.
        if self._plain is None:
            self._plain = type(self.model).from_config(self.model.get_config())
        for copy, variable in zip(self._plain.weights, weights_for(self.model, self.monitor), strict=True):
            require_finite(variable, variable.path, self.state.step)
            copy.assign(variable)
        with atomic_path(path) as temporary:
            self._plain.save(temporary)


def _finite(logs: dict | None) -> bool:
    return math.isfinite(float((logs or {}).get("loss", 0.0)))
