"""Damaged configurations, most of them made of configs/an4.yaml."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import strategies as st

from tests.fuzz.mutations import damaged, rearranged
from tests.fuzz.reader import REPOSITORY

pytestmark = pytest.mark.slow

VALID = (REPOSITORY / "configs" / "an4.yaml").read_bytes()
LINES = VALID.splitlines(keepends=True)
BOMB = b"a: &a [x,x,x,x,x,x,x,x,x]\n" + b"".join(
    f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n".encode() for a, b in zip("abcdefgh", "bcdefghi", strict=True)
)
PIECES = (
    BOMB,
    b"m: &m {a: 1}\n<<: [*m, *m]\n",
    b"r0: x\n" + b"".join(f"r{i + 1}: '${{r{i}}}${{r{i}}}'\n".encode() for i in range(40)),
    b"[" * 5000,
    b"{a: " * 3000,
    b"- " * 3000,
    b"!!bool abc",
    b'!!int ""',
    b'!!timestamp ""',
    b"!!binary a",
    b"!!set {a, b}",
    b"!!python/object/apply:os.system [id]",
    b"%YAML 9.9\n---\n",
    b"&a [*a]\n",
    b"<<: 1\n",
    b"? [a, b]\n: c\n",
    b"--- {}\n...\n---\n",
    b"${model}",
    b"${oc.env:HOME}",
    b'"\\ud800"',
    b'"\\x1b[2J\\n"',
    b"\0",
    b"\xff\xfe",
    b"\t",
    b"9" * 5000,
    b".inf",
    b".nan",
    b"-1",
    b"1e308",
    b"2024-02-30",
    b"0x" + b"f" * 300,
    b"1" + b":59" * 100,
)


def places_of(node: Any, at: tuple = ()) -> list[tuple]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [at, *(place for key, value in children for place in places_of(value, (*at, key)))]


TREE = yaml.safe_load(VALID)
odd_values = st.one_of(
    st.sampled_from([None, True, False, "", "???", [], {}, [[]], [None], {"a": 1}, {1: 2}, {None: None}]),
    st.sampled_from([0, -1, 1, 2**31, 2**32, 2**53, 10**18, 10**400, 0.5, -0.5, 1e-320, 1e308]),
    st.sampled_from([float("nan"), float("inf"), -float("inf"), "1e400", "inf", "a\nb", "\x1b[2J", "\ud7ff" * 300]),
    st.sampled_from(["/dev/zero", "/", "..", "../x", "a\0b", "x" * 300, "~", "gs://a", "${name}", "${model.optim}"]),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers() | st.floats() | st.text(max_size=2), max_size=3),
)


def changed(edits: list[tuple[tuple, bool, Any]]) -> bytes:
    """an4.yaml with other values, or keys left out, at places of its tree."""
    tree = yaml.safe_load(VALID)
    for place, leave_out, value in edits:
        node = tree
        try:
            for key in place[:-1]:
                node = node[key]
            if leave_out and place:
                del node[place[-1]]
            elif place:
                node[place[-1]] = value
        except (LookupError, TypeError):
            continue  # an edit before took the place away
    return yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode()


trees = st.lists(
    st.tuples(st.sampled_from(places_of(TREE)), st.sampled_from([False, False, True]), odd_values),
    min_size=1,
    max_size=3,
).map(changed)


def write(folder: Path, config: bytes) -> Path:
    path = folder / "c.yaml"
    path.write_bytes(config)
    return path


def test_configurations(fuzz):
    examples = st.one_of(trees, trees, rearranged(LINES, PIECES), damaged(VALID, PIECES), st.binary(max_size=60))
    fuzz("config", examples, write, VALID)
