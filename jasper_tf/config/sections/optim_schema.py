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
    """The learning rate schedule. Each has its own keys, listed below; steps are optimizer steps.

    Attributes:
        name: NeMo's schedules.
        warmup_steps: the learning rate rises from 0 to `lr` over these.
        warmup_ratio: the same as a fraction of the steps.
        constant_steps: at the end, at `min_lr`.
        constant_ratio: the same as a fraction of the steps.
        min_lr: the learning rate does not fall below it.
        max_steps: where the schedule ends; null is the length of the training.
        hold_steps: at `lr`, after the warm-up.
        hold_ratio: the same as a fraction of the steps.
        power: of the polynomial.
        cycle: begins again after each decay, with a longer one.
        d_model: width of the model in Noam's formula.
        decay_rate: exponent of the fall.
        gamma: factor of each epoch.
        monitor: the metric of `reduce_on_plateau`; alone without effect, as in NeMo.
        reduce_on_plateau: multiplies the learning rate by `factor` when `monitor` has not improved for `patience`
            validations.
        factor: see `reduce_on_plateau`.
        patience: see `reduce_on_plateau`.
        threshold: least improvement that counts.
        threshold_mode: whether that is a fraction of the best or a difference from it.
        cooldown: validations after a reduction that do not count.
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
    """The optimizer. Each has its own keys, listed below.

    Attributes:
        name: NovoGrad, or one of Keras's.
        lr: the highest learning rate.
        betas: decay of the first and the second moment.
        eps: added to the denominator; Adafactor has two.
        weight_decay: NeMo's for NovoGrad, decoupled for the others.
        grad_averaging: weights the gradient by 1 - beta1.
        amsgrad: the largest second moment so far.
        momentum: of SGD.
        nesterov: SGD looks ahead.
        decay_rate: of Adafactor's second moment.
        clip_threshold: largest root mean square of Adafactor's update.
        exclude_from_weight_decay: patterns of variable paths, as in `model.freeze`. Not in NeMo.
        sched: the schedule; null keeps `lr`.
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
    """An exponential moving average of the weights. Validations score both; counted in optimizer steps.

    Attributes:
        enable: false is as leaving the section out.
        decay: the share of the average that a step keeps.
        start_step: until then the average is a copy of the weights; 0 begins with the initial weights.
        every_n_steps: steps from one update to the next.
    """

    enable: bool = True
    decay: ZeroToOne = 0.999
    start_step: StepsOrZero = 0
    every_n_steps: Steps = 1

    IGNORED = frozenset({"validate_original_weights", "cpu_offload"})
