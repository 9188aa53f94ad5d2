"""Plain values to typed sections: each value is checked against the type of its field."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Callable
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from jasper_tf.config.schema import Config
from jasper_tf.config.section import MISSING, Range, Section
from jasper_tf.config.source import ConfigSource, Keys, nearest
from jasper_tf.errors import UserError, shorten

# YAML 1.1 wants a dot in a float, so PyYAML reads 1e-3 as text.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a string", dict: "a mapping"}
_PLURALS = {int: "whole numbers", float: "numbers", str: "strings"}
S = TypeVar("S", bound=Section)


class SectionReader:
    """Reads the values of one file.

    Args:
        source: where the values are from, for messages.

    Attributes:
        ignored: full keys that were accepted but only steer PyTorch.
    """

    def __init__(self, source: ConfigSource):
        self.source = source
        self.ignored: list[str] = []

    def read(self, kind: type[S], values: dict[Any, Any], keys: Keys = ()) -> S:
        """Reads the mapping `values`, which is at `keys`, as a section.

        Raises:
            UserError: a key is unknown or missing; a value has a wrong type, is out of range or is not supported.
        """
        fields = {f.name: f for f in dataclasses.fields(kind) if f.compare}
        hints = get_type_hints(kind, include_extras=True)
        given: dict[str, Any] = {}
        for key, value in values.items():
            at = (*keys, key)
            if key == "_target_" and kind.TARGETS:
                self._check_target(kind, value, at)
                continue
            if key in kind.ONLY and not _supported(kind.ONLY[key], value):
                raise self.source.error(at, f"{shown(value)} is not supported{_supported_values(kind.ONLY[key])}")
            if key in fields:
                if value is None and key in kind.NULL_MEANS:
                    value = kind.NULL_MEANS[key]
                if value is None and fields[key].default_factory is not dataclasses.MISSING:
                    continue
                try:
                    given[key] = self._typed(value, hints[key], at)
                except _WrongTypeError:
                    raise self.source.error(at, f"expected {_describe(hints[key])}, got {shown(value)}") from None
            elif key in kind.IGNORED:
                self.ignored.append(".".join(at))
            elif key not in kind.ONLY:
                raise self.source.error(at, f"unknown key; nearest known key: {_nearest(kind, keys, str(key))}")
        for name, spec in fields.items():
            has_default = spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING
            if name not in given and not has_default:
                raise self.source.error((*keys, name), f"this key is missing; give {_describe(hints[name])}")
        return kind(**given)

    def _typed(self, value: Any, hint: Any, at: Keys) -> Any:
        """Checks `value` against the type `hint`. `???` is a value of every type but a section."""
        origin, args = get_origin(hint), get_args(hint)
        if isinstance(hint, type) and issubclass(hint, Section):
            if not isinstance(value, dict):
                raise _WrongTypeError
            return self.read(hint, value, at)
        if value == MISSING or hint is Any:
            return value
        if origin is Annotated:
            if get_origin(args[0]) is list and type(value) is int:
                value = [value]  # NeMo writes a kernel of 11 as [11] and as 11
            return self._in_range(self._typed(value, args[0], at), args[0], args[1], at)
        if origin in (Union, types.UnionType):
            return self._first_fit(value, args, at)
        if origin is Literal:
            return _choice(value, args)
        if origin is list or origin is tuple:
            return self._entries(value, origin, args, at)
        if hint is float:
            return _number(value)
        if type(value) is not (origin or hint):
            raise _WrongTypeError
        return value

    def _entries(self, values: Any, kind: type[list] | type[tuple], hints: tuple[Any, ...], at: Keys) -> Any:
        if not isinstance(values, list) or (kind is tuple and len(values) != len(hints)):
            raise _WrongTypeError
        typed = []
        for i, (entry, hint) in enumerate(zip(values, hints if kind is tuple else hints * len(values), strict=True)):
            inner = (*at, str(i))
            try:
                typed.append(self._typed(entry, hint, inner))
            except _WrongTypeError:
                raise self.source.error(inner, f"expected {_describe(hint)}, got {shown(entry)}") from None
        return kind(typed)

    def _first_fit(self, value: Any, kinds: tuple[Any, ...], at: Keys) -> Any:
        """`value` as the first of `kinds` that takes it; raises the first error about more than its type."""
        refused: UserError | None = None
        for kind in kinds:
            try:
                return self._typed(value, kind, at)
            except _WrongTypeError:
                continue
            except UserError as error:
                refused = refused or error
        raise refused or _WrongTypeError

    def _in_range(self, value: Any, kind: Any, bounds: Range, at: Keys) -> Any:
        if isinstance(value, list):
            if len(value) not in bounds:
                raise self.source.error(at, f"expected a list of one number, got {len(value)}")
        elif value not in bounds:
            raise self.source.error(at, f"{shown(value)} is out of range; use {_NAMES[kind]}, {bounds}")
        return value

    def _check_target(self, kind: type[Section], value: Any, at: Keys) -> None:
        if not isinstance(value, str) or value.rpartition(".")[2] not in kind.TARGETS:
            targets = " or ".join(kind.TARGETS)
            raise self.source.error(at, f"{shown(value)} is not supported here; this section is a {targets}")


class _WrongTypeError(Exception):
    """The value is not of the type at hand; another member of a union may fit."""


def _choice(value: Any, choices: tuple[Any, ...]) -> Any:
    for choice in choices:
        if value == choice and type(value) is type(choice):
            return choice
    raise _WrongTypeError


def _number(value: Any) -> float:
    if isinstance(value, str) and _EXPONENT.fullmatch(value):
        value = float(value)
    if type(value) not in (int, float):
        raise _WrongTypeError
    try:
        number = float(value)
    except OverflowError:  # a whole number of more than 308 digits
        number = math.inf if value > 0 else -math.inf
    if math.isnan(number):
        raise _WrongTypeError
    return number


def _supported(allowed: tuple[Any, ...] | Callable[[Any], bool], value: Any) -> bool:
    if callable(allowed):
        return allowed(value)
    return any(value == choice and type(value) is type(choice) for choice in allowed)


def _supported_values(allowed: tuple[Any, ...] | Callable[[Any], bool]) -> str:
    if callable(allowed):
        return ""
    choices = dict.fromkeys("null" if a is None else str(a).lower() for a in reversed(allowed))
    return f"; leave the key out or use {' or '.join(choices)}"


def _nearest(kind: type[Any], keys: Keys, key: str) -> str:
    here = [f.name for f in dataclasses.fields(kind) if f.compare] + sorted({*kind.IGNORED, *kind.ONLY})
    near, wrong = nearest(key, here), ".".join((*keys, key))
    elsewhere = [full for full in _all_keys(Config) if full.rpartition(".")[2] == key and full != wrong]
    if elsewhere and not difflib.get_close_matches(key, [near], 1):
        return elsewhere[0]
    return ".".join((*keys, near))


def _all_keys(kind: Any, prefix: str = "") -> tuple[str, ...]:
    hints, found = get_type_hints(kind, include_extras=True), []
    for f in dataclasses.fields(kind):
        found.append(f"{prefix}{f.name}")
        for inner in (hints[f.name], *get_args(hints[f.name])):
            if isinstance(inner, type) and issubclass(inner, Section):
                entry = ".0" if get_origin(hints[f.name]) is list else ""
                found += _all_keys(inner, f"{prefix}{f.name}{entry}.")
    return tuple(found)


def _describe(hint: Any) -> str:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _describe(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_describe(arg) for arg in args))
    if origin is Literal:
        return ("one of " if len(args) > 1 else "") + ", ".join(map(str, args))
    if origin is list:
        entry = get_args(args[0])[0] if get_origin(args[0]) is Annotated else args[0]
        return f"a list of {_PLURALS.get(entry, 'mappings')}"
    if origin is tuple:
        return f"a list of {len(args)} numbers"
    if hint is type(None):
        return "null"
    return _NAMES.get(origin or hint, "a mapping")


def shown(value: Any) -> str:
    """Formats a value of any type, shortened, for a message."""
    if isinstance(value, str):
        text = shorten(value)
        return f"'{text}'" if len(text) < 60 else f"'{text[:57]}...'"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"a number of {len(str(abs(value)))} digits"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
