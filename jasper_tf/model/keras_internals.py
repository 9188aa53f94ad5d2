"""Private names of Keras, used only here."""

from __future__ import annotations

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


def schedule_of(optimizer: keras.optimizers.Optimizer) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """Returns the schedule of an optimizer, also of one inside a loss scale; None for a constant rate.

    Keras's public attribute is the rate of the current step.
    """
    rate = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
    return rate if isinstance(rate, keras.optimizers.schedules.LearningRateSchedule) else None
