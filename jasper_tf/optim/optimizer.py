"""Builds the optimizer of a configuration with its schedule."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import keras

from jasper_tf.config import Config, SchedConfig
from jasper_tf.config.sections.optim_schema import OPTIMIZERS, SCHEDULES
from jasper_tf.errors import UserError
from jasper_tf.model.variable_patterns import match_variables
from jasper_tf.optim.adamw import AdamW
from jasper_tf.optim.novograd import NovoGrad
from jasper_tf.optim.schedules import annealing
from jasper_tf.optim.schedules.cosine_annealing import CosineAnnealing
from jasper_tf.optim.schedules.scaled_schedule import ScaledSchedule
from jasper_tf.optim.schedules.warmup_policy import WarmupHoldPolicy, WarmupPolicy

Schedule: TypeAlias = keras.optimizers.schedules.LearningRateSchedule

_SCHEDULES: dict[str, Callable[..., Schedule]] = {
    "CosineAnnealing": CosineAnnealing,
    "WarmupPolicy": WarmupPolicy,
    "WarmupHoldPolicy": WarmupHoldPolicy,
    "WarmupAnnealing": annealing.WarmupAnnealing,
    "SquareAnnealing": annealing.SquareAnnealing,
    "SquareRootAnnealing": annealing.SquareRootAnnealing,
    "InverseSquareRootAnnealing": annealing.InverseSquareRootAnnealing,
    "PolynomialDecayAnnealing": annealing.PolynomialDecayAnnealing,
    "PolynomialHoldDecayAnnealing": annealing.PolynomialHoldDecayAnnealing,
    "NoamAnnealing": annealing.NoamAnnealing,
    "NoamHoldAnnealing": annealing.NoamHoldAnnealing,
}
_OPTIMIZERS: dict[str, Callable[..., keras.optimizers.Optimizer]] = {
    "novograd": NovoGrad,
    "adamw": AdamW,
    "adam": keras.optimizers.Adam,
    "sgd": keras.optimizers.SGD,
    "adafactor": keras.optimizers.Adafactor,
    "lion": keras.optimizers.Lion,
}


def build_optimizer(
    cfg: Config, total_steps: int, steps_per_epoch: int = 1, variables: Sequence[keras.Variable] = ()
) -> keras.optimizers.Optimizer:
    """Builds the optimizer of `model.optim` with its schedule; call it in the scope of the strategy.

    All but NovoGrad are Keras's own (AdamW with a faster step), whose `weight_decay` is decoupled from the gradient:
    `p -= rate weight_decay p`.

    Args:
        cfg: from `load_config`.
        total_steps: length of the schedule, unless `sched.max_steps` is set.
        steps_per_epoch: for ExponentialLR, which NeMo counts in epochs.
        variables: the model's trainable variables, for `exclude_from_weight_decay`.

    Raises:
        UserError: the lengths of the schedule contradict each other; a pattern matches no variable.
    """
    o = cfg.model.optim
    rate: float | Schedule = o.lr
    if o.sched is not None:
        rate = build_schedule(o.sched, o.lr, total_steps, steps_per_epoch)
        if o.sched.reduce_on_plateau:
            rate = ScaledSchedule(rate)
    arguments = {key: getattr(o, key) for key in OPTIMIZERS[o.name]}
    optimizer = _OPTIMIZERS[o.name](rate, **_in_keras(o.name, arguments))
    if o.exclude_from_weight_decay:
        excluded = match_variables(variables, o.exclude_from_weight_decay, "model.optim.exclude_from_weight_decay")
        optimizer.exclude_from_weight_decay(var_list=excluded)
    return optimizer


def build_schedule(sched: SchedConfig, learning_rate: float, total_steps: int, steps_per_epoch: int) -> Schedule:
    """Builds the schedule of `model.optim.sched` with a peak of `learning_rate`; see `build_optimizer`."""
    if sched.name == "ExponentialLR":
        return keras.optimizers.schedules.ExponentialDecay(learning_rate, steps_per_epoch, sched.gamma, staircase=True)
    arguments = {key: getattr(sched, key) for key in SCHEDULES[sched.name] if getattr(sched, key) is not None}
    try:
        return _SCHEDULES[sched.name](learning_rate, **{"max_steps": total_steps, **arguments})
    except UserError as error:
        steps = "" if "max_steps" in arguments else "; max_steps comes from trainer.max_epochs or trainer.max_steps"
        raise UserError(f"model.optim.sched: {error}{steps}") from error


def _in_keras(name: str, arguments: dict[str, Any]) -> dict[str, Any]:
    """Renames keys of the configuration to arguments of Keras."""
    if name == "novograd":
        return {("epsilon" if key == "eps" else key): value for key, value in arguments.items()}
    if name == "adafactor":
        first, second = arguments.pop("eps")
        arguments["beta_2_decay"] = arguments.pop("decay_rate")
        # Keras's relative step would replace the configured rate.
        arguments |= {"epsilon_1": first, "epsilon_2": second, "relative_step": False}
    if "betas" in arguments:
        arguments["beta_1"], arguments["beta_2"] = arguments.pop("betas")
    if "eps" in arguments:
        arguments["epsilon"] = arguments.pop("eps")
    if name != "adamw":  # Keras applies a decay of 0 too, with a pass over all weights
        arguments["weight_decay"] = arguments["weight_decay"] or None
    return arguments
