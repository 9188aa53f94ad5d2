"""Damaged `.keras` files: the zip, the configuration in it, and the HDF5 file in it."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import strategies as st

from tests.fuzz.mutations import damaged

pytestmark = pytest.mark.slow

PIECES = (
    b"[" * 100_000,
    b'{"a":' * 1000,
    b"NaN",
    b"1e999",
    b"9" * 500,
    b'"\\ud800"',
    b'"\\u001b[2J\\n"',
    b"null",
    b"{}",
)
odd_values = st.sampled_from(
    [None, True, 0, -1, 1, 2**31, 2**63, 10**30, 0.5, 1e308, float("nan"), float("inf"), "", "\n\x1b[2J", "x" * 5000]
) | st.sampled_from([[], {}, [[]], [None], {"class_name": "Lambda", "config": {}}, ["a"] * 100, [10**9], [10**9] * 3])


def zipped(*members: tuple[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content)
    return file.getvalue()


def places_of(node: Any, at: tuple = ()) -> list[tuple]:
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    return [place for key, value in children for place in ((*at, key), *places_of(value, (*at, key)))]


def write(folder: Path, content: bytes) -> Path:
    path = folder / "model.keras"
    path.write_bytes(content)
    return path


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_keras_files(fuzz, golden):
    valid = (golden / "begun_run" / "begun" / "model.keras").read_bytes()
    with zipfile.ZipFile(io.BytesIO(valid)) as file:
        members = {name: file.read(name) for name in file.namelist()}
    config = members["config.json"]

    def packed(**replaced: bytes) -> bytes:
        return zipped(*{**members, **replaced}.items())

    def changed(edits: list[tuple[tuple, bool, Any]]) -> bytes:
        tree = json.loads(config)
        for place, leave_out, value in edits:
            node = tree
            try:
                for key in place[:-1]:
                    node = node[key]
                if leave_out:
                    del node[place[-1]]
                else:
                    node[place[-1]] = value
            except (LookupError, TypeError):
                continue  # an edit before took the place away
        return json.dumps(tree).encode()

    edits = st.tuples(st.sampled_from(places_of(json.loads(config))), st.sampled_from([False, False, True]), odd_values)
    configs = st.lists(edits, min_size=1, max_size=2).map(changed) | damaged(config, PIECES)
    names = st.sampled_from([*members, "../x", "/x", "a\n\x1b[2J", "x" * 300, "assets/x", ""])
    examples = st.one_of(
        damaged(valid),
        configs.map(lambda config: packed(**{"config.json": config})),
        damaged(members["model.weights.h5"]).map(lambda weights: packed(**{"model.weights.h5": weights})),
        st.tuples(names, st.binary(max_size=4)).map(lambda extra: zipped(*members.items(), extra)),
        st.tuples(names, st.sampled_from(sorted(members))).map(
            lambda pair: zipped(*((pair[0] if name == pair[1] else name, c) for name, c in members.items()))
        ),
    )
    fuzz("keras", examples, write, valid)
