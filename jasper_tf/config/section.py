"""What the sections of a configuration are made of: the base class and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Literal

MISSING = "???"


@dataclass(frozen=True)
class Range:
    """Bounds of a number; a bound named in `without` is itself outside."""

    low: float | None = None
    high: float | None = None
    without: tuple[float, ...] = ()

    def __contains__(self, number: float) -> bool:
        above = self.low is None or number >= self.low
        return above and (self.high is None or number <= self.high) and number not in self.without

    def __str__(self) -> str:
        low = self.low is not None and f"{'more than' if self.low in self.without else 'at least'} {self.low}"
        high = self.high is not None and f"{'less than' if self.high in self.without else 'at most'} {self.high}"
        return " and ".join(bound for bound in (low, high) if bound)


Count = Annotated[int, Range(1)]
Natural = Annotated[int, Range(0)]
CountOrNone = Annotated[int, Range(-1, without=(0,))]
NonNegative = Annotated[float, Range(0)]
Positive = Annotated[float, Range(0, without=(0,))]
Share = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, without=(1,))]
PerAxis = Annotated[list[Count], Range(1, 1)]

OFF = (None, False)
InitMode = Literal["xavier_uniform", "xavier_normal", "kaiming_uniform", "kaiming_normal", "tds_uniform", "tds_normal"]
ResidualMode = Literal["add", "stride_add", "max", "stride_max"]


class Section:
    """A mapping of the file. A field's type is the rule for its value.

    Beside its fields a section may list what else it knows of NeMo:
        TARGETS: the class names that `_target_` may end in; empty: no `_target_`.
        IGNORED: keys that only steer PyTorch.
        ONLY: keys with the values that are supported; any other value is an error.
        NULL_MEANS: the value that null stands for.
    """

    TARGETS: ClassVar[tuple[str, ...]] = ()
    IGNORED: ClassVar[frozenset[str]] = frozenset()
    ONLY: ClassVar[dict[str, tuple[Any, ...] | Callable[[Any], bool]]] = {}
    NULL_MEANS: ClassVar[dict[str, Any]] = {}
