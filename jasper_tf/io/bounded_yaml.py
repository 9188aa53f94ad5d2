"""Reads untrusted YAML: plain values only, in bounded memory and time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from jasper_tf.errors import UserError, one_line, shorten
from jasper_tf.io.bounded_file import read_bounded

MOST_BYTES = 1 << 20
MOST_VALUES = 100_000
"""After aliases and merge keys are expanded. NeMo's largest files, with 5,000 labels three times, have 20,000."""
DEEPEST = 50
"""Levels of nesting."""

_MOST_DIGITS = 1000
_TAG = "tag:yaml.org,2002:"
_PLAIN = {_TAG + name for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge")}
# What PyYAML lets through of Python's own errors, as in int("") and chr(0xFFFFFFFF).
_FAULTS = (ValueError, LookupError, ArithmeticError, AttributeError, TypeError)
Places = dict[tuple[str, ...], str]


def read_yaml(path: str | Path, places: Places | None = None, what: str = "configuration") -> Any:
    """The values of a YAML file; see `parse_yaml`, and `read_bounded` for what may be a file."""
    return parse_yaml(read_bounded(path, MOST_BYTES, what), shorten(path), places, what)


def parse_yaml(content: str | bytes, name: str, places: Places | None = None, what: str = "configuration") -> Any:
    """YAML to nested dicts and lists of plain values; None for an empty text.

    Dates stay strings, as OmegaConf reads NeMo's files.

    Args:
        content: UTF-8 if it is bytes.
        name: of the file, for messages.
        places: receives FILE:LINE of every key. Default: not recorded.
        what: what the text is, for messages.

    Raises:
        UserError: not YAML; a key twice; a tag such as `!!python/object`; a value that its tag does not fit; more than
            `MOST_BYTES` bytes, `MOST_VALUES` values or `DEEPEST` levels, aliases and merge keys expanded.
    """
    if len(content) > MOST_BYTES:
        raise UserError(f"{name}: larger than {MOST_BYTES:,} bytes, the most that a {what} may have")
    try:
        text = content.decode() if isinstance(content, bytes) else content
        loader = _Loader(text, name)
        try:
            node = loader.get_single_node()
            if node is None:
                return None
            _note_places(node, (), name, {} if places is None else places)
            return loader.construct_document(node)
        finally:
            loader.dispose()
    except UnicodeDecodeError:
        raise UserError(f"{name}: cannot read this {what} (not UTF-8 text)") from None
    except yaml.MarkedYAMLError as error:
        line = f":{error.problem_mark.line + 1}" if error.problem_mark else ""
        problem = " ".join(filter(None, (error.context, error.problem)))
        raise UserError(f"{name}{line}: not valid YAML: {one_line(problem)}") from None
    except UserError:
        raise
    except (yaml.YAMLError, *_FAULTS) as error:
        raise UserError(f"{name}: not valid YAML: {one_line(error)}") from None


class _Loader(yaml.SafeLoader):
    """Counts values and levels while it composes, so that nothing large is built before it is refused."""

    # A date would be the only value that is neither a string nor a number, and a lone `=` has no value at all.
    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag in _PLAIN]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def __init__(self, text: str, name: str):
        super().__init__(text)
        self._name = name
        self._open = 0
        self._composed = 0
        self._sizes: dict[int, tuple[int, int]] = {}  # of each finished node: values and levels, aliases expanded

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = self.peek_event()
        line = event.start_mark.line + 1
        self._open += 1
        self._composed += 1
        self._check(line, self._composed, self._open)
        node = super().compose_node(parent, index)
        self._open -= 1
        if isinstance(event, yaml.AliasEvent):
            if id(node) not in self._sizes:
                raise UserError(f"{self._name}:{line}: an alias that contains itself")
        elif node is not None:
            inner = [self._sizes[id(child)] for child in _children(node)]
            values = 1 + sum(values for values, _ in inner)
            levels = 1 + max((levels for _, levels in inner), default=0)
            self._check(line, values, levels)
            self._sizes[id(node)] = values, levels
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        place = f"{self._name}:{node.start_mark.line + 1}"
        if node.tag not in _PLAIN:
            raise UserError(f"{place}: not valid YAML: the tag {one_line(node.tag)} is not supported; use plain values")
        kind = node.tag.removeprefix(_TAG)
        written = node.value if isinstance(node, yaml.ScalarNode) else "this"
        if kind in ("int", "float") and len(written) > _MOST_DIGITS:
            raise UserError(f"{place}: a number of {len(written):,} characters; use {_MOST_DIGITS:,} at most")
        try:
            value = super().construct_object(node, deep)
            if isinstance(value, str):
                value.encode()
        except UnicodeEncodeError:
            raise UserError(f"{place}: not valid YAML: half of a character (\\ud800 to \\udfff)") from None
        except UserError:
            raise
        except _FAULTS:
            raise UserError(f"{place}: not valid YAML: '{one_line(written)}' is not of type {kind}") from None
        return value

    def _check(self, line: int, values: int, levels: int) -> None:
        if levels > DEEPEST:
            raise UserError(f"{self._name}:{line}: nested more than {DEEPEST} levels deep; do not trust this file")
        if values > MOST_VALUES:
            raise UserError(f"{self._name}:{line}: expands to more than {MOST_VALUES:,} values; do not trust this file")


def _children(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [part for pair in node.value for part in pair]
    return node.value if isinstance(node, yaml.SequenceNode) else []


def _note_places(node: yaml.Node, keys: tuple[str, ...], name: str, places: Places) -> None:
    """Fills `places`, and refuses a key that is repeated."""
    children: list[tuple[str, int, yaml.Node]] = []
    if isinstance(node, yaml.MappingNode):
        lines: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise UserError(f"{name}:{line}: a key must be a single word")
            if key.tag == f"{_TAG}merge":
                continue
            if key.value in lines:
                full = one_line(".".join((*keys, key.value)))
                raise UserError(f"{name}:{line}: {full}: this key is already at line {lines[key.value]}; keep one")
            lines[key.value] = line
            children.append((key.value, line, value))
    elif isinstance(node, yaml.SequenceNode):
        children = [(str(i), entry.start_mark.line + 1, entry) for i, entry in enumerate(node.value)]
    for key, line, child in children:
        # The marks of an alias are those of its anchor: the key's line is where the reader looks.
        places[(*keys, key)] = f"{name}:{line}"
        _note_places(child, (*keys, key), name, places)
