"""Cosine learning-rate annealing with warm-up."""

import keras
import numpy as np
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.optim.schedules.warmup_policy import count_steps, shorter_warmup


@keras.saving.register_keras_serializable(package="jasper_tf")
class CosineAnnealing(keras.optimizers.schedules.CosineDecay):
    """Linear warm-up, then half a cosine down to `min_lr`, then constant (NeMo: CosineAnnealing).

    With s the step (from 0), W the warm-up steps and M `max_steps`:
    `learning_rate (s + 1) / (W + 1)` while s <= W and W > 0, then
    `min_lr + (learning_rate - min_lr) (1 + cos(pi (s - W) / (M - W))) / 2` until M.
    With K > 0 constant steps (the Megatron form): `learning_rate s / W` while s <= W, the cosine over M - W - K steps,
    `min_lr` for the last K.

    Keras's CosineDecay with NeMo's arguments: its warm-up starts at `learning_rate / (W + 1)`, in the Megatron form at
    0.

    Args:
        learning_rate: the peak.
        max_steps: M, optimizer steps of the whole training.
        warmup_steps: W. Default: 0.
        warmup_ratio: W as a share of M, truncated; not together with `warmup_steps`.
        constant_steps: K, steps at `min_lr` at the end. Default: 0.
        constant_ratio: K as a share of M, truncated; not together with `constant_steps`.
        min_lr: the floor.

    Raises:
        UserError: for a `max_steps` below 1 or not above W + K, both forms of one length, or `min_lr` above
            `learning_rate`.
    """

    def __init__(
        self,
        learning_rate: float,
        max_steps: int,
        warmup_steps: int | None = None,
        warmup_ratio: float | None = None,
        constant_steps: int | None = None,
        constant_ratio: float | None = None,
        min_lr: float = 0.0,
        name: str = "cosine_annealing",
    ):
        if max_steps is None or max_steps < 1:
            raise UserError(f"CosineAnnealing: max_steps is {max_steps}; it must be at least 1")
        if min_lr > learning_rate:
            raise UserError(f"CosineAnnealing: min_lr {min_lr} is above the learning rate {learning_rate}")
        self.learning_rate = float(learning_rate)
        self.max_steps = int(max_steps)
        self.min_lr = float(min_lr)
        self._given = {
            "warmup_steps": warmup_steps,
            "warmup_ratio": warmup_ratio,
            "constant_steps": constant_steps,
            "constant_ratio": constant_ratio,
        }
        self.warmup_steps = count_steps(warmup_steps, warmup_ratio, self.max_steps, "warmup", "CosineAnnealing") or 0
        self.constant_steps = (
            count_steps(constant_steps, constant_ratio, self.max_steps, "constant", "CosineAnnealing") or 0
        )
        self.decay_steps = self.max_steps - self.warmup_steps - self.constant_steps
        if self.decay_steps < 1:
            hold = f" and constant_steps {self.constant_steps}" if self.constant_steps else ""
            raise UserError(
                f"CosineAnnealing: max_steps {self.max_steps} leaves no step to anneal after warmup_steps "
                f"{self.warmup_steps}{hold}; "
                f"{shorter_warmup(self.max_steps, warmup_ratio is not None, self.constant_steps)}"
            )
        megatron = self.warmup_steps > 0 and self.constant_steps > 0
        super().__init__(
            # Keras then computes in float64, and the last bit of the float32 rate is right.
            np.float64(0.0 if megatron else self.learning_rate / (self.warmup_steps + 1)),
            self.decay_steps,
            alpha=self.min_lr / self.learning_rate if self.learning_rate else 0.0,
            name=name,
            warmup_target=np.float64(self.learning_rate) if self.warmup_steps else None,
            warmup_steps=self.warmup_steps,
        )

    def __call__(self, step):
        """The rate of optimizer step `step` (scalar integer, from 0), scalar float32."""
        return ops.cast(super().__call__(step), "float32")

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate,
            "max_steps": self.max_steps,
            **self._given,
            "min_lr": self.min_lr,
            "name": self.name,
        }
