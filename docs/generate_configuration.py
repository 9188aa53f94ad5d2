"""Writes docs/configuration.md from the dataclasses of jasper_tf/config: python docs/generate_configuration.py

Types, ranges and defaults are those that a file is checked against; the meaning of a key is its line under
`Attributes:` in the docstring of its class.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from jasper_tf.config.schema import Config
from jasper_tf.config.section import Range, Section
from jasper_tf.config.sections.optim_schema import OPTIMIZERS, PLATEAU, REQUIRED, SCHEDULES
from jasper_tf.config.sections.tune_schema import Choice, FloatRange, IntRange, TuneConfig

PAGE = Path(__file__).with_name("configuration.md")
_INTRODUCTION = """\
# Configuration reference

<!-- Written by docs/generate_configuration.py (make docs); a test fails when it is stale. -->

Every key that a configuration file may have, in NeMo's layout. An unchanged NeMo file of a Jasper, QuartzNet or
Citrinet model loads. A key that is neither here nor among those that are ignored is an error with file, line, key and
the nearest known key, and so is a value of another type or out of range.

- `???` is a value that is still to be given, in the file or on the command line.
- `${a.b}` is the value of another key, by its full name.
- `a.b.c=value` on the command line replaces a value; entries of lists go by their number from 0:
  `model.encoder.jasper.0.dropout=0.1`.
- The resolved file, with every default, is written into the run's folder.

*Ignored* keys only steer PyTorch or NeMo: they are accepted, and named once when a run starts. Keys that are *accepted
only* with one value stand for features that are absent here, switched off.
"""
_NAMES = {int: "integer", float: "number", bool: "true, false", str: "string", dict: "mapping", Any: "any value"}
_PLURALS = {int: "integers", float: "numbers", str: "strings"}
_HEADINGS = {"": "Top level", "model.train_ds": "model.train_ds, model.validation_ds, model.test_ds"}


def render() -> str:
    """The whole page."""
    described: dict[type[Section], str] = {}
    parts = [_INTRODUCTION]
    _collect(Config, "", described)
    parts += [_section(kind, title, described) for kind, title in described.items()]
    parts.append(_chosen("model.optim: keys of each optimizer", "optimizer", OPTIMIZERS))
    parts.append(_chosen("model.optim.sched: keys of each schedule", "schedule", SCHEDULES))
    plateau = ", ".join(f"`{key}` {_value(value)}" for key, value in PLATEAU.items())
    parts.append(f"With `reduce_on_plateau: true` every schedule also has {plateau}.\n")
    search = {
        TuneConfig: "File of a search",
        FloatRange: "space: float",
        IntRange: "space: int",
        Choice: "space: choice",
    }
    described.update(search)
    parts += [_section(kind, title, described) for kind, title in search.items()]
    return "\n".join(parts)


def meanings(kind: type[Section]) -> dict[str, str]:
    """The meaning of each key of a section, from the docstrings of its class and those it derives from."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        doc = inspect.cleandoc(base.__doc__ or "")
        for entry in re.split(r"\n {4}(?=\w+: )", doc.partition("\nAttributes:")[2])[1:]:
            name, _, meaning = entry.partition(": ")
            found[name] = " ".join(meaning.split())
    if missing := [field.name for field in _fields(kind) if field.name not in found]:
        raise LookupError(f"{kind.__name__}: no line under Attributes: of its docstring for {', '.join(missing)}")
    return found


def _collect(kind: type[Section], path: str, described: dict[type[Section], str]) -> None:
    described[kind] = path
    hints = get_type_hints(kind, include_extras=True)
    for field in _fields(kind):
        for inner, entry in _sections(hints[field.name]):
            if inner not in described:
                _collect(inner, f"{path}.{field.name}{entry}".removeprefix("."), described)


def _sections(hint: Any, entry: str = "") -> Iterator[tuple[type[Section], str]]:
    """The sections in a type, with how a key of theirs goes on: "" or ".N" for a list's."""
    if isinstance(hint, type) and issubclass(hint, Section):
        yield hint, entry
    for inner in get_args(hint):
        yield from _sections(inner, ".N" if get_origin(hint) is list else entry)


def _fields(kind: type[Section]) -> list[dataclasses.Field]:
    return [field for field in dataclasses.fields(kind) if field.compare]


def _section(kind: type[Section], title: str, described: dict[type[Section], str]) -> str:
    summary = inspect.cleandoc(kind.__doc__ or "").partition("\n")[0]
    hints, meaning = get_type_hints(kind, include_extras=True), meanings(kind)
    lines = [
        f"## {_HEADINGS.get(title, title)}",
        "",
        summary,
        "",
        "| key | values | default | meaning |",
    ]
    lines.append("|---|---|---|---|")
    for field in _fields(kind):
        values = _type(hints[field.name], described)
        lines.append(f"| `{field.name}` | {values} | {_default(field)} | {meaning[field.name]} |")
    if kind.TARGETS:
        lines += ["", f"`_target_`, if given, ends in {' or '.join(f'`{name}`' for name in kind.TARGETS)}."]
    if ignored := sorted(kind.IGNORED - kind.ONLY.keys()):
        lines += ["", f"*Ignored*: {', '.join(f'`{key}`' for key in ignored)}."]
    if kind.ONLY:
        only = ", ".join(f"`{key}`: {_only(allowed)}" for key, allowed in sorted(kind.ONLY.items()))
        lines += ["", f"*Accepted only* left out, or with these values: {only}."]
    return "\n".join(lines) + "\n"


def _chosen(title: str, kind: str, keys: dict[str, dict[str, Any]]) -> str:
    lines = [
        f"## {title}",
        "",
        f"With their defaults, if any; a key that the chosen {kind} does not have is an error.",
        "",
    ]
    lines += [f"| {kind} | keys |", "|---|---|"]
    for name, values in keys.items():
        lines.append(f"| `{name}` | {', '.join(f'`{key}`{_given(value)}' for key, value in values.items())} |")
    return "\n".join(lines) + "\n"


def _given(default: Any) -> str:
    return "" if default is None else f" {_value(default)}"


def _anchor(title: str) -> str:
    """The anchor of a heading, as GitHub and MkDocs make it."""
    heading = _HEADINGS.get(title, title).lower()
    return re.sub(r"\s+", "-", re.sub(r"[^\w\s-]", "", heading))


def _type(hint: Any, described: dict[type[Section], str]) -> str:
    """A type as a reader of YAML would say it."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        if get_origin(args[0]) is list:  # the only one with a range of lengths: one entry, or the entry itself
            return f"{_type(get_args(args[0])[0], described)}, in a list or alone"
        return f"{_type(args[0], described)} ({_range(args[1])})"
    if origin in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_type(arg, described) for arg in args))
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in args)
    if origin in (list, tuple):
        count = f"{len(args)} " if origin is tuple else "list of "
        kind, *bounds = get_args(args[0]) if get_origin(args[0]) is Annotated else (args[0],)
        name = _PLURALS.get(kind) or _type(kind, described)
        return f"{count}{name}{''.join(f' ({_range(b)})' for b in bounds)}"
    if hint is type(None):
        return "`null`"
    if isinstance(hint, type) and issubclass(hint, Section):
        return f"[section](#{_anchor(described[hint])})"
    return _NAMES[origin or hint]


def _range(bounds: Range) -> str:
    low = f"above {_number(bounds.low)}" if bounds.low in bounds.without else f"{_number(bounds.low)}"
    high = f"below {_number(bounds.high)}" if bounds.high in bounds.without else f"{_number(bounds.high)}"
    inner = [f", not {_number(number)}" for number in bounds.without if bounds.low < number < bounds.high]
    return f"{low} to {high}{''.join(inner)}"


def _number(number: float) -> str:
    short = f"{number:g}"
    return short.replace("e+", "e").replace("e0", "e") if "e" in short and float(short) == number else f"{number:,}"


def _default(field: dataclasses.Field) -> str:
    if field.default is not dataclasses.MISSING:
        return _value(field.default)
    if field.default_factory is dataclasses.MISSING:
        return "required"
    return _value(field.default_factory()) if field.default_factory is list else "its defaults"


def _value(value: Any) -> str:
    if value is REQUIRED:
        return "(required)"
    if value is None:
        return "`null`"
    if isinstance(value, tuple):
        value = list(value)
    return f"`{str(value).lower() if isinstance(value, bool) else value}`"


def _only(allowed: tuple[Any, ...] | Callable[[Any], bool]) -> str:
    if callable(allowed):
        return (inspect.getdoc(allowed) or "").rstrip(".").replace("A ", "a ", 1)
    return " or ".join(_value(value) for value in allowed if value is not None) or "`null`"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
