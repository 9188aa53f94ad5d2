"""Reads a NeMo-style YAML file into a checked, typed `Config`."""

from __future__ import annotations

import dataclasses
import difflib
import math
import re
import types
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin, get_type_hints

from jasper_tf.config.rules import complete, inherit
from jasper_tf.config.schema import Config
from jasper_tf.config.section import MISSING, Range, Section
from jasper_tf.config.source import ConfigSource, Keys, nearest
from jasper_tf.errors import UserError, shorten
from jasper_tf.inference.pretrained_config import take_over

# YAML 1.1 wants a dot in a float, so PyYAML reads 1e-3 as text.
_EXPONENT = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)[eE][-+]?\d+")
S = TypeVar("S", bound=Section)
_NAMES = {int: "a whole number", float: "a number", bool: "true or false", str: "a text", dict: "a mapping"}


def load_config(path: str | Path, overrides: Sequence[str] = (), *, cross_check: bool = True) -> Config:
    """Reads a configuration file.

    Args:
        path: a YAML file in NeMo's layout. A value `???` is allowed here; see `Config.require`.
        overrides: `a.b.c=value`, values as in YAML, entries of lists by number: `model.encoder.jasper.0.dropout=0.1`.
        cross_check: False looks at each value alone, not at whether they fit together, and fills in nothing.

    Raises:
        UserError: the file cannot be read; a key is unknown, twice or missing; a value has a wrong type or does not
            fit another; a feature is not supported. One line with file, line (or "command line") and full key.
    """
    source = ConfigSource.from_file(path)
    # The pretrained model first, so that the other overrides can change what comes from it.
    first = [o for o in overrides if o.lstrip("+").startswith("init_from_")]
    source.override(first)
    taken_over = take_over(source)
    source.override([o for o in overrides if o not in first])
    replaced = {o.lstrip("+").partition("=")[0].strip() for o in overrides}
    return _build(source, [name for name in taken_over if f"model.{name}" not in replaced], cross_check)


def config_from_dict(values: Mapping[str, Any], source: str = "configuration") -> Config:
    """`load_config` for values that are already in memory; `source` stands for the file in messages."""
    tree = ConfigSource(source, values)
    return _build(tree, take_over(tree))


def read_section(kind: type[S], source: ConfigSource, keys: Keys = ()) -> S:
    """The values of `source` at `keys` as a section that is not part of `Config`; `${...}` stays as it is.

    Raises:
        UserError: as `load_config`; a value `???` is refused.
    """
    values: Any = source.tree
    for key in keys:
        values = values[key]
    if not isinstance(values, dict):
        raise source.error(keys, f"expected a mapping, got {_shown(values)}")
    for key, value in values.items():
        if value == MISSING:
            raise source.error((*keys, key), "no value yet; give one")
    return _section(kind, values, keys, source, [])


def _build(source: ConfigSource, taken_over: list[str], cross_check: bool = True) -> Config:
    values = source.resolve(skip=Config.IGNORED)
    inherit(values)
    ignored: list[str] = []
    config = _section(Config, values, (), source, ignored)
    config.ignored, config.taken_over, config.source = ignored, taken_over, source.name
    if cross_check:
        complete(config, source)
    return config


class _WrongTypeError(Exception):
    """The value is not of the type at hand; another member of a union may fit."""


def _section(kind: type[Any], values: dict[Any, Any], keys: Keys, source: ConfigSource, ignored: list[str]) -> Any:
    fields = {f.name: f for f in dataclasses.fields(kind) if f.compare}
    hints = get_type_hints(kind, include_extras=True)
    given: dict[str, Any] = {}
    for key, value in values.items():
        at = (*keys, key)
        if key == "_target_" and kind.TARGETS:
            _check_target(kind, value, at, source)
            continue
        if key in kind.ONLY and not _supported(kind.ONLY[key], value):
            raise source.error(at, f"{_shown(value)} is not supported{_supported_values(kind.ONLY[key])}")
        if key in fields:
            if value is None and key in kind.NULL_MEANS:
                value = kind.NULL_MEANS[key]
            if value is None and fields[key].default_factory is not dataclasses.MISSING:
                continue
            try:
                given[key] = _typed(value, hints[key], at, source, ignored)
            except _WrongTypeError:
                raise source.error(at, f"expected {_describe(hints[key])}, got {_shown(value)}") from None
        elif key in kind.IGNORED:
            ignored.append(".".join(at))
        elif key not in kind.ONLY:
            raise source.error(at, f"unknown key; nearest known key: {_nearest(kind, keys, str(key))}")
    for name, spec in fields.items():
        has_default = spec.default is not dataclasses.MISSING or spec.default_factory is not dataclasses.MISSING
        if name not in given and not has_default:
            raise source.error((*keys, name), f"this key is missing; give {_describe(hints[name])}")
    return kind(**given)


def _typed(value: Any, hint: Any, at: Keys, source: ConfigSource, ignored: list[str]) -> Any:
    """`value` as `hint` wants it. `???` fits everywhere but in place of a section."""
    origin, args = get_origin(hint), get_args(hint)
    if isinstance(hint, type) and issubclass(hint, Section):
        if not isinstance(value, dict):
            raise _WrongTypeError
        return _section(hint, value, at, source, ignored)
    if value == MISSING or hint is Any:
        return value
    if origin is Annotated:
        if get_origin(args[0]) is list and type(value) is int:
            value = [value]  # NeMo writes a kernel of 11 as [11] and as 11
        return _in_range(_typed(value, args[0], at, source, ignored), args[0], args[1], at, source)
    if origin in (Union, types.UnionType):
        return _first_fit(value, args, at, source, ignored)
    if origin is Literal:
        return _choice(value, args)
    if origin is list or origin is tuple:
        if not isinstance(value, list) or (origin is tuple and len(value) != len(args)):
            raise _WrongTypeError
        typed = []
        for i, entry in enumerate(value):
            inner = (*at, str(i))
            try:
                typed.append(_typed(entry, args[i] if origin is tuple else args[0], inner, source, ignored))
            except _WrongTypeError:
                expected = _describe(args[0])
                raise source.error(inner, f"expected {expected}, got {_shown(entry)}") from None
        return tuple(typed) if origin is tuple else typed
    if origin is dict:
        hint = dict
    if hint is float:
        return _number(value)
    if type(value) is not hint:
        raise _WrongTypeError
    return value


def _first_fit(value: Any, kinds: tuple[Any, ...], at: Keys, source: ConfigSource, ignored: list[str]) -> Any:
    refused: UserError | None = None
    for kind in kinds:
        try:
            return _typed(value, kind, at, source, ignored)
        except _WrongTypeError:
            continue
        except UserError as error:
            refused = refused or error
    raise refused or _WrongTypeError


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


def _in_range(value: Any, kind: Any, bounds: Range, at: Keys, source: ConfigSource) -> Any:
    if isinstance(value, list):
        if len(value) not in bounds:
            raise source.error(at, f"expected a list of one number, got {len(value)}")
    elif value not in bounds:
        raise source.error(at, f"{_shown(value)} is out of range; use {_NAMES[kind]}, {bounds}")
    return value


def _check_target(kind: type[Section], value: Any, at: Keys, source: ConfigSource) -> None:
    if not isinstance(value, str) or value.rpartition(".")[2] not in kind.TARGETS:
        raise source.error(at, f"{_shown(value)} is not supported here; this section is a {' or '.join(kind.TARGETS)}")


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
    near = nearest(key, here)
    elsewhere = [full for full in _all_keys(Config) if full.rpartition(".")[2] == key]
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
        return f"a list (of {_describe(args[0])})"
    if origin is tuple:
        return f"a list of {len(args)} numbers"
    if hint is type(None):
        return "null"
    return _NAMES.get(origin or hint, "a mapping")


def _shown(value: Any) -> str:
    if isinstance(value, str):
        text = shorten(value)
        return f"the text '{text}'" if len(text) < 60 else f"the text '{text[:57]}...'"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, int) and abs(value) >= 10**20:
        return f"a number of {len(str(abs(value)))} digits"
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
