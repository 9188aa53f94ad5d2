"""Base class of the perturbations of `augmentor`."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Self

import numpy as np

from jasper_tf.errors import UserError, shorten

_SHOWN = 60
_NO_PATHS = "is not the path of a manifest, nor a list of paths"


class AugmentorError(UserError):
    """A key or a value below `augmentor` is wrong.

    Attributes:
        keys: where, below `augmentor`.
        reason: what is wrong and what to do.
        known: of an unknown key, those that could stand there.
    """

    def __init__(self, keys: Sequence[str], reason: str, known: Sequence[str] = ()):
        self.keys, self.reason, self.known = tuple(keys), reason, tuple(known)
        known_are = f"; known are {', '.join(known)}" if known else ""
        super().__init__(f"augmentor.{'.'.join(map(str, keys))}: {reason}{known_are}")


@dataclass
class Perturbation:
    """One entry of `augmentor`; its fields are its keys.

    Attributes:
        prob: the share of the utterances that it changes.
        STREAM: the number of its random draws: another stream, other draws.
        BOUNDS: of each number, lowest and highest; decibels within them stay finite in float32.
        RANGE: the two fields that bound what is drawn, the lower one first.
        IGNORED: NeMo's keys that mean nothing here.
    """

    prob: float = 0.5

    STREAM: ClassVar[int]
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {}
    RANGE: ClassVar[tuple[str, str] | None] = None
    IGNORED: ClassVar[frozenset[str]] = frozenset({"rng"})

    @classmethod
    def read(cls, name: str, values: Any, sample_rate: int) -> Self:
        """From the values under `augmentor.<name>`; no file is opened, see `prepare`.

        Raises:
            AugmentorError: an unknown or a missing key, a value of the wrong type, a range upside down: one line that
                names the key.
        """
        known = [field.name for field in fields(cls) if field.init]
        if not isinstance(values, Mapping | None):
            shown = shorten(repr(values)[:_SHOWN])
            raise AugmentorError([name], f"{shown} is not a mapping; its keys are {', '.join(known)}")
        chosen = {key: value for key, value in (values or {}).items() if key not in cls.IGNORED}
        for key, value in chosen.items():
            if key not in known:
                raise AugmentorError([name, key], "unknown key", known)
            if fault := _fault(value, getattr(cls, key), (0, 1) if key == "prob" else cls.BOUNDS.get(key)):
                raise AugmentorError([name, key], f"{shorten(repr(value)[:_SHOWN])} {fault}")
        perturbation = cls(**chosen)
        low, high = (getattr(perturbation, key) for key in cls.RANGE or ("prob", "prob"))
        if low > high:
            got = shorten(str(perturbation))
            raise AugmentorError([name], f"needs min <= max, got {got}")
        for key in known:
            if getattr(perturbation, key) in (None, ""):
                raise AugmentorError([name, key], "is missing; name a file of JSON lines with audio_filepath")
        perturbation.check(name, sample_rate)
        return perturbation

    def check(self, name: str, sample_rate: int) -> None:  # noqa: B027  # most values fit together
        """Whether its values fit each other and the model's `sample_rate`, Hz. Raises AugmentorError."""

    def prepare(self, key: str, sample_rate: int) -> None:  # noqa: B027  # most have nothing to prepare
        """Opens what it needs and checks it. `key`: its full name, for messages. Raises UserError."""

    @abstractmethod
    def __call__(self, audio: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
        """audio [S] float32, full scale 1 -> [S] float32, another array. The draws do not depend on the audio."""

    def drawn(self, generator: np.random.Generator) -> float:
        """A number uniform in RANGE."""
        assert self.RANGE is not None
        low, high = (getattr(self, key) for key in self.RANGE)
        return generator.uniform(low, high)


def _fault(value: Any, default: Any, bounds: tuple[float, float] | None) -> str:
    """What is wrong with a value whose default is `default`; "" for nothing."""
    if default is None:
        entries = value if isinstance(value, list) else [value]
        return "" if entries and all(isinstance(entry, str) for entry in entries) else _NO_PATHS
    if isinstance(default, bool):
        return "" if isinstance(value, bool) else "is neither true nor false"
    if type(value) not in (int, float) or (isinstance(value, float) and not math.isfinite(value)):
        return "is not a number"
    if isinstance(default, int) and not isinstance(value, int):
        return "is not a whole number"
    if bounds and not bounds[0] <= value <= bounds[1]:
        return f"is out of range; use at least {bounds[0]:,} and at most {bounds[1]:,}"
    return ""
