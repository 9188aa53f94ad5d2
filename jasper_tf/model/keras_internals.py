"""What this package uses of Keras that Keras does not publish; no other file touches such names."""

from __future__ import annotations

import keras


class BuiltModel(keras.Model):
    """A model that `fit` and `evaluate` take as built: they draw no batch to build it from.

    Under a distribution strategy Keras would average such a batch over the replicas, which fails for batches of
    different shapes.
    """

    def _maybe_symbolic_build(self, iterator=None, data_batch=None) -> None:
        if not self.optimizer.built:
            with self.distribute_strategy.scope():
                self.optimizer.build(self.trainable_variables)


def schedule_of(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """The schedule of an optimizer, through a loss scale too; None for a constant rate.

    Keras publishes the rate of the current step only.
    """
    rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None
