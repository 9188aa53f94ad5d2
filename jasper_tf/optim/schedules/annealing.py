"""NeMo's annealing schedules except cosine, with the names and formulas of `nemo/core/optim/lr_scheduler.py`.

In the formulas s is the optimizer step from 0, W the warm-up steps, H the end of the hold, M `max_steps`.
"""

from __future__ import annotations

import keras
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.optim.schedules.warmup_policy import WarmupHoldPolicy, WarmupPolicy


@keras.saving.register_keras_serializable(package="jasper_tf")
class WarmupAnnealing(WarmupPolicy):
    """Linear annealing: `min_lr + (1 - (s - W) / (M - W)) (learning_rate - min_lr)`.

    Args: see `WarmupPolicy`; `max_steps` must be given.
    """

    def __init__(self, learning_rate: float, max_steps: int, **kwargs):
        super().__init__(learning_rate, max_steps, **kwargs)
        self._decay_steps = self._room(self.warmup_steps)

    def _anneal(self, step, peak):
        share = ops.cast(step - self.warmup_steps, peak.dtype) / self._decay_steps
        return self.min_lr + (1 - share) * (peak - self.min_lr)


@keras.saving.register_keras_serializable(package="jasper_tf")
class SquareAnnealing(WarmupPolicy):
    """Squared linear annealing: `max(min_lr, learning_rate ((M - s) / (M - W))^2)`.

    Args: see `WarmupPolicy`; `max_steps` must be given, and `min_lr` is 1e-5 unless given, as in NeMo.
    """

    def __init__(self, learning_rate: float, max_steps: int, *, min_lr: float = 1e-5, **kwargs):
        super().__init__(learning_rate, max_steps, min_lr=min_lr, **kwargs)
        self._decay_steps = self._room(self.warmup_steps)

    def _anneal(self, step, peak):
        left = ops.cast(self.max_steps - step, peak.dtype) / self._decay_steps
        return ops.maximum(peak * ops.square(left), self.min_lr)


@keras.saving.register_keras_serializable(package="jasper_tf")
class SquareRootAnnealing(WarmupPolicy):
    """Square-root annealing: `max(min_lr, learning_rate sqrt((M - s) / M))`.

    The warm-up is not subtracted, so the rate drops after it.

    Args: see `WarmupPolicy`; `max_steps` must be given.
    """

    def __init__(self, learning_rate: float, max_steps: int, **kwargs):
        super().__init__(learning_rate, max_steps, **kwargs)
        self._room(0)

    def _anneal(self, step, peak):
        left = ops.cast(ops.maximum(self.max_steps - step, 0), peak.dtype) / self.max_steps
        return ops.maximum(peak * ops.sqrt(left), self.min_lr)


@keras.saving.register_keras_serializable(package="jasper_tf")
class InverseSquareRootAnnealing(WarmupPolicy):
    """Inverse-square-root annealing: `learning_rate / sqrt((s + 1) / (W + 1))`, and `min_lr` where s > M.

    Args: see `WarmupPolicy`.
    """

    def _anneal(self, step, peak):
        return peak * ops.sqrt((self.warmup_steps + 1) / ops.cast(step + 1, peak.dtype))


def _polynomial(schedule, step, peak, decay_steps: int):
    """Polynomial decay (NeMo: `_poly_decay`); `step` counts from the start of the decay."""
    if schedule.cycle:
        # At step 0 the ceiling is 0, where NeMo uses 1.
        cycles = ops.maximum(ops.ceil(ops.cast(step, peak.dtype) / decay_steps), 1)
        share = ops.cast(step, peak.dtype) / (cycles * decay_steps)
    else:
        share = ops.cast(ops.minimum(step, decay_steps), peak.dtype) / decay_steps
    return (peak - schedule.min_lr) * ops.power(1 - share, schedule.power) + schedule.min_lr


@keras.saving.register_keras_serializable(package="jasper_tf")
class PolynomialDecayAnnealing(WarmupPolicy):
    """Polynomial annealing: `min_lr + (learning_rate - min_lr) (1 - (s - W) / (M - W))^power`.

    Args:
        power: exponent; 1 is linear.
        cycle: restart after each M - W steps with a longer decay; `max_steps` ends it before, as in NeMo.
        learning_rate, max_steps, ...: see `WarmupPolicy`; `max_steps` must be given.
    """

    def __init__(self, learning_rate: float, max_steps: int, *, power: float = 1.0, cycle: bool = False, **kwargs):
        super().__init__(learning_rate, max_steps, **kwargs)
        self.power, self.cycle = float(power), cycle
        self._decay_steps = self._room(self.warmup_steps)

    def _anneal(self, step, peak):
        return _polynomial(self, step - self.warmup_steps, peak, self._decay_steps)

    def get_config(self) -> dict:
        return {**super().get_config(), "power": self.power, "cycle": self.cycle}


@keras.saving.register_keras_serializable(package="jasper_tf")
class PolynomialHoldDecayAnnealing(WarmupHoldPolicy):
    """Polynomial annealing after a hold.

    `min_lr + (learning_rate - min_lr) (1 - (s - H) / (M - max(W, H)))^power`, with H = 0 without a hold.

    Args:
        power, cycle: see `PolynomialDecayAnnealing`.
        learning_rate, max_steps, hold_steps, ...: see `WarmupHoldPolicy`; `max_steps` must be given.
    """

    def __init__(self, learning_rate: float, max_steps: int, *, power: float = 1.0, cycle: bool = False, **kwargs):
        super().__init__(learning_rate, max_steps, **kwargs)
        self.power, self.cycle = float(power), cycle
        self._decay_steps = self._room(max(self.warmup_steps, self.hold_end))

    def _anneal(self, step, peak):
        return _polynomial(self, ops.maximum(step - self.hold_end, 0), peak, self._decay_steps)

    def get_config(self) -> dict:
        return {**super().get_config(), "power": self.power, "cycle": self.cycle}


@keras.saving.register_keras_serializable(package="jasper_tf")
class NoamAnnealing(WarmupPolicy):
    """The Transformer's schedule (Vaswani et al. 2017, equation 3): `learning_rate` is a factor, not the peak.

    With t = max(1, s): `learning_rate d_model^-0.5 min(t^-0.5, t W^-1.5)`, at least `min_lr` where t > W. It has no
    end; `max_steps` only serves `warmup_ratio`.

    Args:
        d_model: the model's width.
        learning_rate, max_steps, warmup_steps, warmup_ratio, min_lr: see `WarmupPolicy`.
    """

    def __init__(self, learning_rate: float, max_steps: int | None = None, *, d_model: int, **kwargs):
        super().__init__(learning_rate, max_steps, **kwargs)
        if d_model < 1:
            raise UserError(f"NoamAnnealing: d_model is {d_model}; it must be at least 1")
        self.d_model = int(d_model)

    def __call__(self, step):
        """The rate of optimizer step `step` (scalar integer, from 0), scalar float32."""
        with keras.name_scope(self.name):
            t = ops.maximum(ops.cast(step, "float64"), 1)
            decay = ops.rsqrt(t)
            if self.warmup_steps > 0:
                decay = ops.minimum(decay, t * self.warmup_steps**-1.5)
            rate = self.learning_rate * self.d_model**-0.5 * decay
            rate = ops.where(t > self.warmup_steps, ops.maximum(rate, self.min_lr), rate)
            return ops.cast(rate, "float32")

    def get_config(self) -> dict:
        return {**super().get_config(), "d_model": self.d_model}


@keras.saving.register_keras_serializable(package="jasper_tf")
class NoamHoldAnnealing(WarmupHoldPolicy):
    """Noam's decay from a given peak, after warm-up and hold (Squeezeformer, Kim et al. 2022, section 3.2).

    `max(min_lr, learning_rate max(1, W^decay_rate) / max(1, (s - hold_steps)^decay_rate))`, `min_lr` where s > M.

    Args:
        decay_rate: 0.5 for Noam's, 1 for Squeezeformer's.
        learning_rate, max_steps, hold_steps, ...: see `WarmupHoldPolicy`; the warm-up must have a step.
    """

    def __init__(self, learning_rate: float, max_steps: int, *, decay_rate: float = 0.5, **kwargs):
        super().__init__(learning_rate, max_steps, **kwargs)
        if self.warmup_steps < 1:
            raise UserError("NoamHoldAnnealing: needs a warm-up; give warmup_steps or warmup_ratio")
        self.decay_rate = float(decay_rate)

    def _anneal(self, step, peak):
        hold = max(self.hold_end - self.warmup_steps, 0)
        since = ops.power(ops.cast(ops.maximum(step - hold, 1), peak.dtype), self.decay_rate)
        return ops.maximum(peak * max(1.0, self.warmup_steps**self.decay_rate) / since, self.min_lr)

    def get_config(self) -> dict:
        return {**super().get_config(), "decay_rate": self.decay_rate}
