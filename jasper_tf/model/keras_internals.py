"""Private names of Keras, used only here."""

from __future__ import annotations

import math

import keras


class BuiltModel(keras.Model):
    """A model that is built before `fit` and `evaluate`, which therefore draw no batch to build it from.

    Under a distribution strategy Keras would average such a batch over the replicas, which fails for batches of
    different shapes.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None) -> None:
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


class BestModelCheckpoint(keras.callbacks.ModelCheckpoint):
    """Keras's ModelCheckpoint with `save_best_only`, that writes by a method of its own.

    Of equal values the newest is the best, and a NaN is the worst. An epoch without `monitor` is saved if no epoch had
    it yet; Keras saves each, with a warning.
    """

    best: float | None

    def write_model(self, path: str) -> None:
        """Writes the model to `path`."""
        raise NotImplementedError

    def _should_save_model(self, epoch, batch, logs, filepath):
        if self.monitor not in logs:
            return self.best is None
        if self.best is not None and (math.isnan(self.best) or logs[self.monitor] == self.best):
            self.best = None  # whatever comes next is better
        return super()._should_save_model(epoch, batch, logs, filepath)

    def _save_model(self, epoch, batch, logs):
        if self._should_save_model(epoch, batch, logs, self.filepath):
            self.write_model(self.filepath)


class TensorBoardFolder(keras.callbacks.TensorBoard):
    """Keras's TensorBoard callback with one event file, in `log_dir` itself, for training and validation.

    TensorBoard stops reading an event file when its folder holds a newer one.
    """

    @property
    def writer(self):
        """The summary writer; the file is made when it is first used, after `set_model`, and closed after training."""
        return self._train_writer

    @property
    def _val_writer(self):
        return self._train_writer

    def set_model(self, model):
        super().set_model(model)
        self._train_dir = self._val_dir = self.log_dir


def schedule_of(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """Returns the schedule of an optimizer, also of one inside a loss scale; None for a constant rate.

    Keras's public attribute is the rate of the current step.
    """
    rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None
