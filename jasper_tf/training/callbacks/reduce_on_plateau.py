"""Turns the learning rate down when validation stops getting better."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from jasper_tf.optim.schedules.scaled_schedule import ScaledSchedule
from jasper_tf.training.run.checkpoint import Position


@dataclass
class Plateau:
    """What has been seen so far; a run's `Position` keeps it.

    Args:
        scale: of the learning rate.
        best: the best value so far; None before the first.
        waited: validations since then, or since the scale changed.
        cooldown: validations that still do not count.
    """

    scale: float = 1.0
    best: float | None = None
    waited: int = 0
    cooldown: int = 0


class ReduceOnPlateau(keras.callbacks.Callback):
    """Multiplies the schedule by `factor` each time `monitor` has not improved for `patience` validations.

    Keras's own callback sets the rate of an optimizer without schedule, and forgets on a restart. The value improves
    when it is below `best (1 - threshold)` (`threshold_mode` rel) or `best - threshold` (abs), torch's rule; NaN never
    does. The count is Keras's: torch waits for one validation more.

    Args:
        position: keeps the state; where a resumed run has one, the scale goes on from there.
        monitor: a validation metric, the lower the better.
        factor: of the scale, in (0, 1).
        patience: validations without improvement, 1 or more.
        threshold, threshold_mode: the least improvement that counts.
        cooldown: validations after a change that are not counted.
        say: prints a line at each change.
    """

    def __init__(
        self,
        position: Position,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        say: Callable[[str], None] = print,
    ):
        super().__init__()
        self.position = position
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.say = say

    def on_train_begin(self, logs=None):
        if not self.position.plateau:
            self.position.plateau = vars(Plateau())
        self._set_scale(self.position.plateau["scale"])

    def on_epoch_end(self, epoch, logs=None):
        value = (logs or {}).get(self.monitor)
        if value is None:  # an epoch without validation
            return
        state = Plateau(**self.position.plateau)
        if self._improves(float(value), state.best):
            state.best, state.waited = float(value), 0
        else:
            state.waited += 1
        if state.cooldown > 0:
            state.cooldown, state.waited = state.cooldown - 1, 0
        if state.waited >= self.patience:
            state.scale *= self.factor
            state.waited, state.cooldown = 0, self.cooldown
            self._set_scale(state.scale)
            best = "no number yet" if state.best is None else f"{state.best:.4f}"
            many = "1 validation" if self.patience == 1 else f"{self.patience} validations"
            self.say(
                f"{self.monitor} {value:.4f}, best {best}: {many} without improvement, "
                f"learning rate now {state.scale:.3g} of its schedule"
            )
        self.position.plateau = vars(state)

    def _improves(self, value: float, best: float | None) -> bool:
        if best is None:
            return value == value
        margin = self.threshold * (best if self.threshold_mode == "rel" else 1.0)
        return value < best - margin

    def _set_scale(self, scale: float) -> None:
        optimizer = self.model.optimizer
        schedule = getattr(optimizer, "inner_optimizer", optimizer)._learning_rate
        if not isinstance(schedule, ScaledSchedule):
            raise TypeError("ReduceOnPlateau needs an optimizer whose learning_rate is a ScaledSchedule")
        schedule.scale.assign(scale)
