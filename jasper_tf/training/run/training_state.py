"""State of a training run that its checkpoints save with the weights."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any


@dataclass
class TrainingState:
    """Progress of a training run, saved with each checkpoint.

    Args:
        epoch: the current epoch, from 0.
        step_in_epoch: completed steps of this epoch.
        step: completed optimizer steps of the run.
        metrics: results of the last validation.
        best: best value so far of the monitored metric, that of `model.keras`.
        waited: validations since the last improvement that early stopping saw, and its best value.
        plateau: state of `ReduceOnPlateau`, with the scale of the learning rate.
        log: sums of `RunLog` inside an epoch or a logging window; kept current by it.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    waited: list[float] | None = None
    plateau: dict[str, Any] = field(default_factory=dict)
    log: dict[str, float] = field(default_factory=dict)

    @classmethod
    def from_record(cls, record: dict[str, Any]) -> TrainingState:
        """Restores the state from `asdict(state)`; a key that an older version did not write has its default.

        Raises:
            ValueError: an unknown key, or a value of the wrong type or range.
        """
        for key in sorted(record.keys() | {"epoch", "step_in_epoch", "step"}):
            if key not in _ALLOWED:
                raise ValueError(f"{key} is unknown")
            if key not in record or not _ALLOWED[key](record[key]):
                raise ValueError(f"{key} is {str(record.get(key, 'missing'))[:60]}")
        return cls(**record)


def _is_number(value: Any) -> bool:
    return type(value) in (int, float)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2**53


def are_numbers(values: Any) -> bool:
    """Whether `values` is a mapping to numbers, NaN and infinity included."""
    return isinstance(values, dict) and all(map(_is_number, values.values()))


# NaN and infinity are allowed where a loss, a gradient or an error rate may be either.
_ALLOWED: dict[str, Callable[[Any], bool]] = {
    "epoch": _is_count,
    "step_in_epoch": _is_count,
    "step": _is_count,
    "metrics": are_numbers,
    "best": lambda value: value is None or _is_number(value),
    "waited": lambda value: (
        value is None
        or (isinstance(value, list) and len(value) == 2 and all(map(_is_number, value)) and math.isfinite(value[0]))
    ),
    "plateau": lambda value: isinstance(value, dict) and all(v is None or _is_number(v) for v in value.values()),
    "log": lambda value: (
        are_numbers(value) and all(math.isfinite(value.get(key, 0)) for key in ("rows", "window/first_step"))
    ),
}
