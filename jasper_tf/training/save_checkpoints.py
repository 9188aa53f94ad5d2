"""Keeps a run's position, and saves it."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import keras

from jasper_tf.data.pipeline import SpeechBatches
from jasper_tf.training.checkpoint import CheckpointFolder, Position
from jasper_tf.training.weight_average import weights_for


class TrackPosition(keras.callbacks.Callback):
    """Counts optimizer steps in `position`, and stops the training at `max_steps`. Must be the first callback.

    Args:
        position: where the run stands; kept current.
        batches: the training batches; set to begin each epoch where `position` stands.
        max_steps: optimizer steps of the whole run.
    """

    def __init__(self, position: Position, batches: SpeechBatches, max_steps: int):
        super().__init__()
        self.position = position
        self.batches = batches
        self.max_steps = max_steps

    def on_epoch_begin(self, epoch, logs=None):
        if epoch != self.position.epoch:
            self.position.epoch, self.position.step_in_epoch = epoch, 0
        # Here, not before fit: under a distribution strategy Keras starts an iterator to build the model.
        self.batches.epoch, self.batches.first_step = epoch, self.position.step_in_epoch

    def on_train_batch_end(self, batch, logs=None):
        self.position.step += 1
        self.position.step_in_epoch += 1
        if self.position.step >= self.max_steps:
            self.model.stop_training = True

    def on_epoch_end(self, epoch, logs=None):
        self.position.metrics = {k: float(v) for k, v in logs.items() if k.startswith("val_")}


class SaveCheckpoints(keras.callbacks.Callback):
    """Writes a checkpoint after each epoch and every `every_n_train_steps`, and the best weights as a model.

    Args:
        checkpoints: where they go, and which stay; None writes the model only.
        model_file: `model.keras` of the run; replaced whenever `monitor` is at its best (at each epoch's end when there
            is no validation).
        position: where the run stands.
        monitor: the validation metric, the lower the better.
        every_n_train_steps: also in the middle of an epoch; None for epochs only.
    """

    def __init__(
        self,
        checkpoints: CheckpointFolder | None,
        model_file: Path,
        position: Position,
        monitor: str = "val_wer",
        every_n_train_steps: int | None = None,
    ):
        super().__init__()
        self.checkpoints = checkpoints
        self.model_file = model_file
        self.position = position
        self.monitor = monitor
        self.every_n_train_steps = every_n_train_steps
        self._plain: keras.Model | None = None

    def on_train_batch_end(self, batch, logs=None):
        every = self.every_n_train_steps
        # After the last step of an epoch comes its validation, then the checkpoint with the results.
        last = batch + 1 == self.params["steps"] or self.model.stop_training
        if self.checkpoints and every and self.position.step % every == 0 and not last:
            self.checkpoints.save(self.model, self.position)

    def on_epoch_end(self, epoch, logs=None):
        value, best = logs.get(self.monitor), self.position.best
        if value is None:  # an epoch without validation
            better = best is None
        else:
            better = best is None or math.isnan(best) or value <= best
        if better:
            self.position.best = None if value is None else float(value)
            self._write_model()
        if self.checkpoints:
            self.checkpoints.save(self.model, replace(self.position, epoch=epoch + 1, step_in_epoch=0))

    def _write_model(self) -> None:
        # A copy without optimizer: half the size, and what serving reads must not depend on how it was trained.
        if self._plain is None:
            self._plain = type(self.model).from_config(self.model.get_config())
        for copy, variable in zip(self._plain.weights, weights_for(self.model, self.monitor), strict=True):
            copy.assign(variable)
        beside = self.model_file.with_name(".partial.keras")
        self._plain.save(beside)
        beside.replace(self.model_file)
