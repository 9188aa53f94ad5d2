"""Learning-rate schedules with warm-up and hold, base classes of the annealing schedules."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops

from jasper_tf.errors import UserError


def count_steps(steps: int | None, ratio: float | None, max_steps: int | None, what: str, schedule: str) -> int | None:
    """Returns `what`_steps, or `what`_ratio of `max_steps` in steps; None if neither is given."""
    if steps is not None and ratio is not None:
        raise UserError(f"{schedule}: {what}_steps and {what}_ratio are both set; keep one of them")
    if ratio is not None and max_steps is None:
        raise UserError(f"{schedule}: {what}_ratio is a share of max_steps, which is not given")
    if steps is None and ratio is None:
        return None
    # int() truncates, as NeMo does: 0.05 of 37 steps is 1 step.
    count = int(ratio * (max_steps or 0)) if ratio is not None else int(steps or 0)
    if count < 0:
        raise UserError(f"{schedule}: {what}_steps is {count}; it must not be negative")
    return count


def shorter_warmup(max_steps: int, by_ratio: bool, held: int) -> str:
    """Says what to do about a schedule that leaves no step to anneal, for a message.

    NeMo trains such a schedule, whose rate never reaches the peak or leaves it at once.
    """
    key = "warmup_ratio=0.1" if by_ratio else f"warmup_steps={max_steps // 10}"
    return f"set model.optim.sched.{key}{' with a shorter hold' if held else ''}, or train longer"


@keras.saving.register_keras_serializable(package="jasper_tf")
class WarmupPolicy(keras.optimizers.schedules.LearningRateSchedule):
    """Linear warm-up, then a constant rate (NeMo: WarmupPolicy).

    With s the step (from 0) and W the warm-up steps: `learning_rate (s + 1) / (W + 1)` while s <= W and W > 0, then
    `learning_rate`, and `min_lr` where s > `max_steps`.

    Args:
        learning_rate: the peak.
        max_steps: M, optimizer steps of the whole training; None for no end.
        warmup_steps: W. Default: 0.
        warmup_ratio: W as a share of M, truncated; not together with `warmup_steps`.
        min_lr: the rate after `max_steps`; in subclasses the floor.

    Raises:
        UserError: for a `max_steps` below 1, both forms of one length, or `min_lr` above `learning_rate`.
    """

    def __init__(
        self,
        learning_rate: float,
        max_steps: int | None = None,
        warmup_steps: int | None = None,
        warmup_ratio: float | None = None,
        min_lr: float = 0.0,
        name: str | None = None,
    ):
        super().__init__()
        schedule = type(self).__name__
        if max_steps is not None and max_steps < 1:
            raise UserError(f"{schedule}: max_steps is {max_steps}; it must be at least 1")
        if min_lr > learning_rate:
            raise UserError(f"{schedule}: min_lr {min_lr} is above the learning rate {learning_rate}")
        self.learning_rate = float(learning_rate)
        self.max_steps = max_steps
        self.min_lr = float(min_lr)
        self.name = name or schedule
        self._given: dict[str, Any] = {"warmup_steps": warmup_steps, "warmup_ratio": warmup_ratio}
        self.warmup_steps = count_steps(warmup_steps, warmup_ratio, max_steps, "warmup", schedule) or 0
        self.hold_end = 0  # the first step after warm-up and hold; 0 without a hold

    def __call__(self, step):
        """The rate of optimizer step `step` (scalar integer, from 0), scalar float32."""
        with keras.name_scope(self.name):
            step = ops.cast(step, "int64")
            # In float64 the last bit of the float32 rate is right; it is one scalar.
            peak = ops.convert_to_tensor(self.learning_rate, "float64")
            rate = self._anneal(step, peak)
            if self.max_steps is not None:
                rate = ops.where(step > self.max_steps, ops.convert_to_tensor(self.min_lr, "float64"), rate)
            if self.hold_end > 0:
                rate = ops.where(step < self.hold_end, peak, rate)
            if self.warmup_steps > 0:
                warm = ops.cast(step + 1, "float64") * (self.learning_rate / (self.warmup_steps + 1))
                rate = ops.where(step <= self.warmup_steps, warm, rate)
            return ops.cast(rate, "float32")

    def _anneal(self, step, peak):
        """The rate after warm-up and hold; `step` is a scalar integer, `peak` the peak as a scalar float."""
        return peak

    def _room(self, first: int) -> int:
        """Steps from `first` to `max_steps`, at least one."""
        if self.max_steps is None or self.max_steps <= first:
            by_ratio, held = self._given["warmup_ratio"] is not None, first - self.warmup_steps
            raise UserError(
                f"{type(self).__name__}: max_steps {self.max_steps} leaves no step to anneal after the {first} of "
                f"warm-up and hold; {shorter_warmup(self.max_steps or 0, by_ratio, held)}"
            )
        return self.max_steps - first

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate,
            "max_steps": self.max_steps,
            **self._given,
            "min_lr": self.min_lr,
            "name": self.name,
        }


@keras.saving.register_keras_serializable(package="jasper_tf")
class WarmupHoldPolicy(WarmupPolicy):
    """`WarmupPolicy` that holds its peak for H steps after the warm-up (NeMo: WarmupHoldPolicy).

    Args:
        hold_steps: H, steps at the peak after the warm-up. Default: none.
        hold_ratio: H as a share of `max_steps`, truncated; not together with `hold_steps`.
        learning_rate, max_steps, warmup_steps, warmup_ratio, min_lr: see `WarmupPolicy`.
    """

    def __init__(
        self,
        learning_rate: float,
        max_steps: int | None = None,
        warmup_steps: int | None = None,
        warmup_ratio: float | None = None,
        hold_steps: int | None = None,
        hold_ratio: float | None = None,
        min_lr: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(learning_rate, max_steps, warmup_steps, warmup_ratio, min_lr, name)
        self._given |= {"hold_steps": hold_steps, "hold_ratio": hold_ratio}
        hold = count_steps(hold_steps, hold_ratio, max_steps, "hold", type(self).__name__)
        # Without a hold NeMo counts from step 0 here, not from the end of the warm-up.
        self.hold_end = 0 if hold is None else hold + self.warmup_steps
