"""The base class of the sections of a configuration, and the types of their values."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

MISSING = "???"


@dataclass(frozen=True)
class Range:
    """The numbers from `low` to `high`, both included, but for those in `without`."""

    low: float
    high: float
    without: tuple[float, ...] = ()

    def __contains__(self, number: float) -> bool:
        return self.low <= number <= self.high and number not in self.without

    def __str__(self) -> str:
        low = f"{'more than' if self.low in self.without else 'at least'} {self.low:,}"
        high = f"{'less than' if self.high in self.without else 'at most'} {self.high:,}"
        inner = [f", not {number:,}" for number in self.without if self.low < number < self.high]
        return f"{low} and {high}{''.join(inner)}"


# A range that several sections use has a name: that of the quantity, or of its bounds. Any other is written at its key.
# Upper bounds are far above what is sensible, and far below what exhausts the memory or overflows.
Epochs = Annotated[int, Range(1, 10**6)]
Steps = Annotated[int, Range(1, 10**9)]
StepsOrZero = Annotated[int, Range(0, 10**9)]
Seed = Annotated[int, Range(0, 2**31 - 1)]  # layers add a little to it, and Keras takes 32 bits
SampleRate = Annotated[int, Range(1000, 384_000)]
Seconds = Annotated[float, Range(0, 10**9, without=(0,))]
NonNegative = Annotated[float, Range(0, 10**6)]
ZeroToOne = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, without=(1,))]

OFF = (None, False)


@dataclass
class Section:
    """A mapping of the file. The type of a field is the rule for its value.

    Besides its fields, a section may list what else it accepts of NeMo:
        TARGETS: the class names that `_target_` may end in; empty: no `_target_`.
        IGNORED: keys that only steer PyTorch.
        ONLY: keys with the values that are supported; any other value is an error.
        NULL_MEANS: the values that null is replaced by.
    """

    TARGETS: ClassVar[tuple[str, ...]] = ()
    IGNORED: ClassVar[frozenset[str]] = frozenset()
    ONLY: ClassVar[dict[str, tuple[Any, ...] | Callable[[Any], bool]]] = {}
    NULL_MEANS: ClassVar[dict[str, Any]] = {}
