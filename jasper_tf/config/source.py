"""A configuration's values before they are typed: the YAML tree, where each key stands, overrides, `${...}`."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from jasper_tf.config.section import MISSING
from jasper_tf.errors import UserError

Keys = tuple[str, ...]
COMMAND_LINE = "command line"
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

    @classmethod
    def from_file(cls, path: str | Path) -> ConfigSource:
        """Reads YAML. UserError: no such file, not YAML, a key twice, not a mapping."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
            raise UserError(f"{path}: cannot read this configuration ({reason})") from error
        places: dict[Keys, str] = {}
        return cls(str(path), _parse(text, str(path), places), places)

    def error(self, keys: Keys, message: str) -> UserError:
        """The one-line error about the value at `keys`."""
        place, known = self.name, keys
        while known and known not in self._places:
            known = known[:-1]
        if known:
            place = self._places[known]
        return UserError(f"{place}: {'.'.join(map(str, keys))}: {message}")

    def override(self, assignments: Sequence[str]) -> None:
        """Applies `a.b.c=value` in order; values are YAML; a number picks an entry of a list; `+a.b` means `a.b`."""
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            keys = tuple(key.strip().lstrip("+").split("."))
            if not equals or not all(keys):
                raise UserError(f"{COMMAND_LINE}: '{assignment}' is not an override; write KEY=VALUE, as in seed=1")
            value = _parse(text, f"{COMMAND_LINE}: {key}", {})
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
        key = ".".join(keys)
        if not isinstance(node, list):
            parent = ".".join(keys[:-1])
            raise UserError(f"{COMMAND_LINE}: {key}: {parent} is a single value, it has no keys of its own")
        if not keys[-1].isdecimal() or int(keys[-1]) >= len(node):
            raise UserError(f"{COMMAND_LINE}: {key}: this list is counted from 0 to {len(node) - 1}")
        return int(keys[-1])

    def resolve(self, skip: frozenset[str] = frozenset()) -> dict[Any, Any]:
        """The tree with every `${a.b}` replaced by the value there; top-level keys in `skip` stay as they are."""
        return {k: v if k in skip else self._resolved(v, (k,), ()) for k, v in self.tree.items()}

    def _resolved(self, node: Any, at: Keys, active: Keys) -> Any:
        if isinstance(node, dict):
            return {k: self._resolved(v, (*at, k), active) for k, v in node.items()}
        if isinstance(node, list):
            return [self._resolved(v, (*at, str(i)), active) for i, v in enumerate(node)]
        while isinstance(node, str) and (match := _REFERENCE.search(node)):
            value = self._at(match[1].strip(), at, active)
            if match.span() == (0, len(node)) or value == MISSING:
                return value
            if isinstance(value, dict | list):
                raise self.error(at, f"{match[0]} is a {type(value).__name__}, it cannot stand inside a text")
            shown = str(value).lower() if isinstance(value, bool) else str(value)
            node = node[: match.start()] + shown + node[match.end() :]
        return node

    def _at(self, reference: str, at: Keys, active: Keys) -> Any:
        if ":" in reference or reference.startswith("."):
            raise self.error(at, f"${{{reference}}} is not supported; only ${{a.b}} with a full key is")
        if reference in active:
            raise self.error(at, f"${{...}} goes round in a circle: {' -> '.join([*active, reference])}")
        node: Any = self.tree
        done: Keys = ()
        active = (*active, reference)
        for part in reference.split("."):
            if isinstance(node, str):
                node = self._resolved(node, done, active)
            if isinstance(node, list) and part.isdecimal() and int(part) < len(node):
                node = node[int(part)]
            elif isinstance(node, dict) and part in node:
                node = node[part]
            else:
                known = difflib.get_close_matches(reference, _full_keys(self.tree), 1, cutoff=0.0)
                raise self.error(at, f"${{{reference}}} names no key; nearest known key: {known[0]}")
            done = (*done, part)
        return self._resolved(node, done, active)


def _parse(text: str, name: str, places: dict[Keys, str]) -> Any:
    """YAML to values; fills `places` with FILE:LINE of every key."""
    try:
        loader = yaml.SafeLoader(text)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _visit(node, (), name, places, ())
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise UserError(f"{name}{line}: not valid YAML: {' '.join(problem.split())}") from error
    except (yaml.YAMLError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{name}: not valid YAML: {' '.join(str(error).split())}") from error


def _visit(node: yaml.Node, keys: Keys, name: str, places: dict[Keys, str], above: tuple[yaml.Node, ...]) -> None:
    if any(node is outer for outer in above):
        raise UserError(f"{name}:{node.start_mark.line + 1}: {'.'.join(keys)}: an alias that contains itself")
    children: list[tuple[str, int, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"{name}:{key.start_mark.line + 1}: a key must be a single word")
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:merge":
                continue
            if key.value in lines:
                full = ".".join((*keys, key.value))
                raise UserError(f"{name}:{line}: {full}: this key is already at line {lines[key.value]}; keep one")
            lines[key.value] = line
            children.append((key.value, line, value))
    elif isinstance(node, yaml.SequenceNode):
        children = [(str(i), entry.start_mark.line + 1, entry) for i, entry in enumerate(node.value)]
    for key, line, child in children:
        # An alias's own marks lie at its anchor: the key's line is where the reader looks.
        places[(*keys, key)] = f"{name}:{line}"
        _visit(child, (*keys, key), name, places, (*above, node))


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
