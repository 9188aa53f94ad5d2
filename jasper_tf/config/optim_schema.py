"""The optimizer, the learning rate schedule and the averaged weights: `model.optim`, its `sched`, and `trainer.ema`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Any, Literal

from jasper_tf.config.section import (
    OFF,
    BelowOne,
    Epochs,
    NonNegative,
    Range,
    Section,
    Steps,
    StepsOrZero,
    ZeroToOne,
)

Eps = Annotated[float, Range(0, 1, without=(0,))]
METRICS = tuple(f"val_{name}{kind}" for kind in ("", "_ema") for name in ("wer", "cer", "loss"))

_LENGTH: dict[str, Any] = {"warmup_steps": None, "warmup_ratio": None, "max_steps": None}
_HOLD: dict[str, Any] = {"hold_steps": None, "hold_ratio": None}
_POLY: dict[str, Any] = {"power": 1.0, "cycle": False}
_CONSTANT: dict[str, Any] = {"constant_steps": None, "constant_ratio": None}
REQUIRED = object()

# The keys of each schedule, with their defaults: the values that null is replaced by.
SCHEDULES: dict[str, dict[str, Any]] = {
    "CosineAnnealing": {**_LENGTH, **_CONSTANT, "min_lr": 0.0},
    "WarmupPolicy": {**_LENGTH, "min_lr": 0.0},
    "WarmupHoldPolicy": {**_LENGTH, **_HOLD, "min_lr": 0.0},
    "WarmupAnnealing": {**_LENGTH, "min_lr": 0.0},
    "SquareAnnealing": {**_LENGTH, "min_lr": 1e-5},
    "SquareRootAnnealing": {**_LENGTH, "min_lr": 0.0},
    "InverseSquareRootAnnealing": {**_LENGTH, "min_lr": 0.0},
    "PolynomialDecayAnnealing": {**_LENGTH, **_POLY, "min_lr": 0.0},
    "PolynomialHoldDecayAnnealing": {**_LENGTH, **_HOLD, **_POLY, "min_lr": 0.0},
    "NoamAnnealing": {**_LENGTH, "d_model": REQUIRED, "min_lr": 0.0},
    "NoamHoldAnnealing": {**_LENGTH, **_HOLD, "decay_rate": 0.5, "min_lr": 0.0},
    "ExponentialLR": {"gamma": 0.9},
}
# With `reduce_on_plateau: true`, for every schedule.
PLATEAU: dict[str, Any] = {"factor": 0.1, "patience": 10, "threshold": 1e-4, "threshold_mode": "rel", "cooldown": 0}

# The keys of each optimizer. Defaults are those of PyTorch, which NeMo's files rely on, except for NovoGrad's betas.
OPTIMIZERS: dict[str, dict[str, Any]] = {
    "novograd": {"betas": (0.8, 0.5), "eps": 1e-8, "weight_decay": 0.0, "grad_averaging": False, "amsgrad": False},
    "adamw": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.01, "amsgrad": False},
    "adam": {"betas": (0.9, 0.999), "eps": 1e-8, "weight_decay": 0.0, "amsgrad": False},
    "sgd": {"momentum": 0.0, "nesterov": False, "weight_decay": 0.0},
    "adafactor": {"eps": (1e-30, 1e-3), "decay_rate": -0.8, "clip_threshold": 1.0, "weight_decay": 0.0},
    "lion": {"betas": (0.9, 0.99), "weight_decay": 0.0},
}


@dataclass(kw_only=True)
class SchedConfig(Section):
    """The learning rate schedule. `SCHEDULES` lists the keys of each; `max_steps` null is the length of the training.

    `reduce_on_plateau` multiplies the learning rate by `factor` whenever `monitor` has not improved for `patience`
    validations; without it `monitor` has no effect, as in NeMo.
    """

    name: Literal[
        "CosineAnnealing",
        "WarmupPolicy",
        "WarmupHoldPolicy",
        "WarmupAnnealing",
        "SquareAnnealing",
        "SquareRootAnnealing",
        "InverseSquareRootAnnealing",
        "PolynomialDecayAnnealing",
        "PolynomialHoldDecayAnnealing",
        "NoamAnnealing",
        "NoamHoldAnnealing",
        "ExponentialLR",
    ] = "CosineAnnealing"
    warmup_steps: StepsOrZero | None = None
    warmup_ratio: ZeroToOne | None = None
    constant_steps: StepsOrZero | None = None
    constant_ratio: ZeroToOne | None = None
    min_lr: Annotated[float, Range(0, 1000)] | None = None
    max_steps: Steps | None = None
    hold_steps: StepsOrZero | None = None
    hold_ratio: ZeroToOne | None = None
    power: Annotated[float, Range(0, 1000, without=(0,))] | None = None
    cycle: bool | None = None
    d_model: Annotated[int, Range(1, 10**6)] | None = None
    decay_rate: Annotated[float, Range(0, 1000, without=(0,))] | None = None
    gamma: Annotated[float, Range(0, 10, without=(0,))] | None = None
    monitor: str | None = None
    reduce_on_plateau: bool | None = None
    factor: Annotated[float, Range(0, 1, without=(0, 1))] | None = None
    patience: Epochs | None = None
    threshold: NonNegative | None = None
    threshold_mode: Literal["rel", "abs"] | None = None
    cooldown: Annotated[int, Range(0, 10**6)] | None = None

    TARGETS = ("CosineAnnealing",)
    ONLY = {"last_epoch": (None, -1)}


@dataclass(kw_only=True)
class OptimConfig(Section):
    """The optimizer. `OPTIMIZERS` lists the keys of each.

    `exclude_from_weight_decay`, this project's, lists patterns of variable paths as `model.freeze` does.
    """

    name: Literal["novograd", "adamw", "adam", "sgd", "adafactor", "lion"] = "novograd"
    lr: Annotated[float, Range(0, 1e30, without=(0,))]  # float32; a run that diverges ends with an error
    betas: tuple[BelowOne, BelowOne] | None = None
    eps: Eps | tuple[Eps, Eps] | None = None
    weight_decay: Annotated[float, Range(0, 1000)] | None = None
    grad_averaging: bool | None = None
    amsgrad: bool | None = None
    momentum: BelowOne | None = None
    nesterov: bool | None = None
    decay_rate: Annotated[float, Range(-10, 10)] | None = None
    clip_threshold: Annotated[float, Range(0, 1000, without=(0,))] | None = None
    exclude_from_weight_decay: list[str] | None = None
    sched: SchedConfig | None = None

    TARGETS = ("Novograd",)
    IGNORED = frozenset({"luc_trust", "luc_eps"})
    ONLY = {"luc": OFF}


@dataclass(kw_only=True)
class EMAConfig(Section):
    """An exponential moving average of the weights. NeMo's `exp_manager.ema`, but validations score both weights.

    Until `start_step` the average is a copy of the weights; 0 starts it at the initial weights. Both are in optimizer
    steps.
    """

    enable: bool = True
    decay: ZeroToOne = 0.999
    start_step: StepsOrZero = 0
    every_n_steps: Steps = 1

    IGNORED = frozenset({"validate_original_weights", "cpu_offload"})
