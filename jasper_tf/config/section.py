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
        low = self.low is not None and f"{'more than' if self.low in self.without else 'at least'} {self.low:,}"
        high = self.high is not None and f"{'less than' if self.high in self.without else 'at most'} {self.high:,}"
        return " and ".join(bound for bound in (low, high) if bound)


# Upper bounds are far above what is sensible, and far below what takes the memory or overflows.
Epochs = Annotated[int, Range(1, 10**6)]
Steps = Annotated[int, Range(1, 10**9)]
StepsOrZero = Annotated[int, Range(0, 10**9)]
Seed = Annotated[int, Range(0, 2**31 - 1)]  # a layer's seed lies some above it, within the 32 bits of Keras
SampleRate = Annotated[int, Range(1000, 384_000)]
Channels = Annotated[int, Range(1, 8192)]
ChannelsOrNone = Annotated[int, Range(-1, 8192, without=(0,))]
Frames = Annotated[int, Range(0, 100_000)]
Features = Annotated[int, Range(1, 1024)]
FeaturesOrZero = Annotated[int, Range(0, 1024)]
Masks = Annotated[int, Range(0, 100)]
Splicing = Annotated[int, Range(1, 16)]
Hertz = Annotated[float, Range(0, 192_000)]
Seconds = Annotated[float, Range(0, 10**9, without=(0,))]
Factor = Annotated[float, Range(0, 1000, without=(0,))]
FactorOrZero = Annotated[float, Range(0, 1000)]
Finite = Annotated[float, Range(-(10**6), 10**6)]
NonNegative = Annotated[float, Range(0, 10**6)]
Share = Annotated[float, Range(0, 1)]
BelowOne = Annotated[float, Range(0, 1, without=(1,))]
# A list of one, or the number itself.
Kernel = Annotated[list[Annotated[int, Range(1, 1000)]], Range(1, 1)]
Stride = Annotated[list[Annotated[int, Range(1, 100)]], Range(1, 1)]

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
