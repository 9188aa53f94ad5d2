"""Lowers the learning rate when validation stops improving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import keras

from jasper_tf.model.keras_internals import schedule_of
from jasper_tf.optim.schedules.scaled_schedule import ScaledSchedule
from jasper_tf.training.run.training_state import TrainingState


@dataclass
class Plateau:
    """State of `ReduceOnPlateau`, kept in `TrainingState.plateau`.

    Args:
        scale: factor of the learning rate.
        best: the best value so far; None before the first.
        waited: validations since then, or since the scale changed.
        cooldown: validations left that do not count.
    """

    scale: float = 1.0
    best: float | None = None
    waited: int = 0
    cooldown: int = 0


class ReduceOnPlateau(keras.callbacks.Callback):
    """Multiplies the schedule by `factor` each time `monitor` has not improved for `patience` validations.

    Keras's own callback needs an optimizer without schedule, and loses its state on a restart. The value improves when
    it is below `best (1 - threshold)` (`threshold_mode` rel) or `best - threshold` (abs), as in torch; NaN is never an
    improvement. Validations are counted as in Keras; torch waits for one more.

    Args:
        state: of the run; `state.plateau` keeps this callback's state, from which a resumed run continues.
        monitor: a validation metric, the lower the better.
        factor: multiplies the scale, in (0, 1).
        patience: validations without improvement, 1 or more.
        threshold, threshold_mode: the smallest improvement that counts.
        cooldown: validations that do not count after a change.
        say: prints a line at each change.
    """

    def __init__(
        self,
        state: TrainingState,
        monitor: str = "val_loss",
        factor: float = 0.1,
        patience: int = 10,
        threshold: float = 1e-4,
        threshold_mode: str = "rel",
        cooldown: int = 0,
        say: Callable[[str], None] = print,
    ):
        super().__init__()
        self.state = state
        self.monitor = monitor
        self.factor = factor
        self.patience = patience
        self.threshold = threshold
        self.threshold_mode = threshold_mode
        self.cooldown = cooldown
        self.say = say

    def on_train_begin(self, logs=None):
        if not self.state.plateau:
            self.state.plateau = vars(Plateau())
        self._set_scale(self.state.plateau["scale"])

    def on_epoch_end(self, epoch, logs=None):
        value = (logs or {}).get(self.monitor)
        if value is None:  # an epoch without validation
            return
        plateau = Plateau(**self.state.plateau)
        if self._improves(float(value), plateau.best):
            plateau.best, plateau.waited = float(value), 0
        else:
            plateau.waited += 1
        if plateau.cooldown > 0:
            plateau.cooldown, plateau.waited = plateau.cooldown - 1, 0
        if plateau.waited >= self.patience:
            plateau.scale *= self.factor
            plateau.waited, plateau.cooldown = 0, self.cooldown
            self._set_scale(plateau.scale)
            best = "none yet" if plateau.best is None else f"{plateau.best:.4f}"
            many = "1 validation" if self.patience == 1 else f"{self.patience} validations"
            self.say(
                f"{self.monitor} {value:.4f}, best {best}: {many} without improvement, "
                f"learning rate now {plateau.scale:.3g} of its schedule"
            )
        self.state.plateau = vars(plateau)

    def _improves(self, value: float, best: float | None) -> bool:
        if best is None:
            return value == value
        margin = self.threshold * (best if self.threshold_mode == "rel" else 1.0)
        return value < best - margin

    def _set_scale(self, scale: float) -> None:
        schedule = schedule_of(self.model.optimizer)
        if not isinstance(schedule, ScaledSchedule):
            raise TypeError("ReduceOnPlateau needs an optimizer whose learning_rate is a ScaledSchedule")
        schedule.scale.assign(scale)
