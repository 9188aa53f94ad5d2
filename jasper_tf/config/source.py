"""A configuration's values before they are typed: the YAML tree, the place of each key, overrides, `${...}`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jasper_tf.config.packaged import find_config
from jasper_tf.config.section import MISSING
from jasper_tf.errors import UserError, shorten
from jasper_tf.io.bounded_yaml import DEEPEST, MOST_VALUES, parse_yaml, read_yaml

Keys = tuple[str, ...]
COMMAND_LINE = "command line"
_MOST_CHARACTERS = 10_000
"""The longest string that `${...}` is part of."""
_COMPARED_KEYS, _COMPARED_CHARACTERS = 1000, 100
"""At most this many known keys, and of each this many characters, are compared with a wrong key."""
_REFERENCE = re.compile(r"\$\{([^${}]*)\}")


class ConfigSource:
    """Plain values with the place of every key.

    Attributes:
        name: the file, for messages.
        tree: nested dicts and lists; nothing in it is shared.
    """

    def __init__(self, name: str, tree: Any, places: dict[Keys, str] | None = None):
        self.name = name
        if not isinstance(tree, Mapping):
            raise UserError(f"{name}: not a mapping of keys to values")
        self.tree: dict[Any, Any] = _unshared(tree)
        self._places = places or {}
        self._resolved_values = 0

    @classmethod
    def from_file(cls, path: str | Path) -> ConfigSource:
        """Reads YAML; `find_config` says which file. UserError: also as `read_yaml`, or not a mapping."""
        path = find_config(path)
        places: dict[Keys, str] = {}
        return cls(shorten(path), read_yaml(path, places), places)

    def error(self, keys: Keys, message: str) -> UserError:
        """The error about the value at `keys`: one line with file, line and key."""
        place, known = self.name, keys
        while known and known not in self._places:
            known = known[:-1]
        if known:
            place = self._places[known]
        return UserError(f"{place}: {shorten('.'.join(map(str, keys)))}: {message}")

    def override(self, assignments: Sequence[str]) -> None:
        """Applies `a.b.c=value` in order; values are YAML; a number picks an entry of a list; `+a.b` means `a.b`."""
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            keys = tuple(key.strip().lstrip("+").split("."))
            if not equals or not all(keys):
                shown = shorten(assignment)
                raise UserError(f"{COMMAND_LINE}: '{shown}' is not an override; write KEY=VALUE, as in seed=1")
            if len(keys) > DEEPEST:
                raise UserError(f"{COMMAND_LINE}: {shorten(key)}: more than {DEEPEST} keys deep")
            value = parse_yaml(text, f"{COMMAND_LINE}: {shorten(key)}")
            for known in [known for known in self._places if known[: len(keys)] == keys]:
                del self._places[known]
            self._places[keys] = COMMAND_LINE
            node: Any = self.tree
            for i, part in enumerate(keys[:-1]):
                if isinstance(node, dict) and node.get(part) is None:
                    node[part] = {}
                    self._places[keys[: i + 1]] = COMMAND_LINE
                node = node[self._index(node, keys[: i + 1])]
            node[self._index(node, keys)] = value

    @staticmethod
    def _index(node: Any, keys: Keys) -> Any:
        if isinstance(node, dict):
            return keys[-1]
        key = shorten(".".join(keys))
        if not isinstance(node, list):
            parent = shorten(".".join(keys[:-1]))
            raise UserError(f"{COMMAND_LINE}: {key}: {parent} is a single value, it has no keys of its own")
        index = _list_index(keys[-1], node)
        if index is None:
            raise UserError(f"{COMMAND_LINE}: {key}: this list is counted from 0 to {len(node) - 1}")
        return index

    def resolve(self, skip: frozenset[str] = frozenset()) -> dict[Any, Any]:
        """The tree with every `${a.b}` replaced by the value there; top-level keys in `skip` stay as they are.

        Raises:
            UserError: a reference names no key or refers to itself, or they expand to more values, levels or
                characters than a configuration has.
        """
        self._resolved_values = 0
        return {k: v if k in skip else self._resolved(v, (k,), (), 1) for k, v in self.tree.items()}

    def _resolved(self, node: Any, at: Keys, active: Keys, level: int) -> Any:
        self._resolved_values += 1
        if self._resolved_values > MOST_VALUES:
            raise self.error(at, f"${{...}} expands to more than {MOST_VALUES:,} values; do not trust this file")
        if level > DEEPEST:
            raise self.error(at, f"${{...}} expands to more than {DEEPEST} levels; do not trust this file")
        if isinstance(node, dict):
            return {k: self._resolved(v, (*at, k), active, level + 1) for k, v in node.items()}
        if isinstance(node, list):
            return [self._resolved(v, (*at, str(i)), active, level + 1) for i, v in enumerate(node)]
        while isinstance(node, str) and (match := _REFERENCE.search(node)):
            value = self._at(match[1].strip(), at, active, level)
            if match.span() == (0, len(node)) or value == MISSING:
                return value
            if isinstance(value, dict | list):
                raise self.error(at, f"{match[0]} is a {type(value).__name__}, it cannot be part of a string")
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            node = node[: match.start()] + shown + node[match.end() :]
            if len(node) > _MOST_CHARACTERS:
                reason = f"expands to more than {_MOST_CHARACTERS:,} characters; do not trust this file"
                raise self.error(at, f"{shorten(match[0])} {reason}")
        return node

    def _at(self, reference: str, at: Keys, active: Keys, level: int) -> Any:
        shown = shorten(reference)
        if ":" in reference or reference.startswith("."):
            raise self.error(at, f"${{{shown}}} is not supported; only ${{a.b}} with a full key is")
        if reference in active:
            circle = shorten(" -> ".join([*active, reference]))
            raise self.error(at, f"${{...}} refers to itself: {circle}")
        node: Any = self.tree
        done: Keys = ()
        active = (*active, reference)
        for part in reference.split("."):
            if isinstance(node, str):
                node = self._resolved(node, done, active, level + 1)
            if isinstance(node, list) and (index := _list_index(part, node)) is not None:
                node = node[index]
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                known = nearest(reference, _full_keys(self.tree))
                raise self.error(at, f"${{{shown}}} names no key; nearest known key: {shorten(known)}")
            done = (*done, part)
        return self._resolved(node, done, active, level + 1)


def nearest(key: str, known: Sequence[str]) -> str:
    """The entry of `known` that is most similar to `key`."""
    compared = [name[:_COMPARED_CHARACTERS] for name in known[:_COMPARED_KEYS]]
    return difflib.get_close_matches(key[:_COMPARED_CHARACTERS], compared, 1, cutoff=0.0)[0]


def _list_index(part: str, node: list) -> int | None:
    return int(part) if part.isdecimal() and len(part) < 10 and int(part) < len(node) else None


def _unshared(value: Any) -> Any:
    """A copy in which no alias shares its value with another key."""
    if isinstance(value, Mapping):
        return {k: _unshared(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_unshared(v) for v in value]
    return value


def _full_keys(tree: Any, prefix: str = "") -> list[str]:
    if not isinstance(tree, dict):
        return []
    return [full for k, v in tree.items() for full in (f"{prefix}{k}", *_full_keys(v, f"{prefix}{k}."))]
