"""Strategies of hypothesis that begin with a valid file and damage it."""

from __future__ import annotations

import struct
from collections.abc import Callable

from hypothesis import strategies as st

# What size fields and counts are set to.
_EXTREMES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFF0, 0xFFFFFFFF)
_EXTREMES_8 = (*_EXTREMES, 1 << 32, 1 << 40, (1 << 62) - 1, (1 << 63) - 1, 1 << 63, (1 << 64) - 1)
_FIELDS = {1: "B", 2: "H", 4: "I", 8: "Q"}

Edit = Callable[[bytes], bytes]


def _flip(at: int, bit: int) -> Edit:
    return lambda file: file[:at] + bytes([file[at] ^ 1 << bit]) + file[at + 1 :] if at < len(file) else file


def _cut(at: int) -> Edit:
    return lambda file: file[:at]


def _remove(at: int, length: int) -> Edit:
    return lambda file: file[:at] + file[at + length :]


def _insert(at: int, content: bytes) -> Edit:
    return lambda file: file[:at] + content + file[at:]


def _overwrite(at: int, content: bytes) -> Edit:
    return lambda file: file[:at] + content + file[at + len(content) :]


def _repeat(at: int, length: int, times: int) -> Edit:
    return lambda file: file[:at] + file[at : at + length] * times + file[at + length :]


def _copy(source: int, length: int, at: int) -> Edit:
    return lambda file: file[:at] + file[source : source + length] + file[at + length :]


@st.composite
def _numbers(draw: st.DrawFn) -> bytes:
    size = draw(st.sampled_from(sorted(_FIELDS)))
    number = draw(st.sampled_from([value for value in _EXTREMES_8 if value < 1 << 8 * size]))
    return struct.pack(draw(st.sampled_from("<>")) + _FIELDS[size], number)


def damaged(valid: bytes, pieces: tuple[bytes, ...] = (), most_edits: int = 4) -> st.SearchStrategy[bytes]:
    """`valid` with bits flipped, ends and parts missing, doubled or moved, numbers set to extremes, `pieces` put in."""
    size = len(valid)
    # Headers are at the beginning, directories of archives at the end.
    places = st.integers(0, min(size, 128)) | st.integers(0, size) | st.integers(max(0, size - 128), size)
    lengths = st.integers(1, 16) | st.integers(1, max(1, size))
    edits = [
        st.builds(_flip, places, st.integers(0, 7)),
        st.builds(_cut, places),
        st.builds(_remove, places, lengths),
        st.builds(_insert, places, st.binary(min_size=1, max_size=8) | _numbers()),
        st.builds(_overwrite, places, _numbers()),
        st.builds(_overwrite, places, st.binary(min_size=1, max_size=8)),
        st.builds(_repeat, places, st.integers(1, 64), st.sampled_from([2, 3, 100])),
        st.builds(_copy, places, lengths, places),
    ]
    if pieces:
        edits += [st.builds(_insert, places, st.sampled_from(pieces))] * 2

    def apply(chosen: list[Edit]) -> bytes:
        file = valid
        for edit in chosen:
            file = edit(file)
        return file

    return st.lists(st.one_of(edits), min_size=1, max_size=most_edits).map(apply)


def rearranged(parts: list[bytes], pieces: tuple[bytes, ...]) -> st.SearchStrategy[bytes]:
    """A file of `parts` (operations, lines) with some left out, doubled or moved, and `pieces` put between."""
    places = st.integers(0, len(parts))
    edits = st.one_of(
        st.tuples(st.just("remove"), places, st.integers(1, 3)),
        st.tuples(st.just("double"), places, st.sampled_from([1, 2, 50])),
        st.tuples(st.just("move"), places, places),
        st.tuples(st.just("insert"), places, st.sampled_from(pieces)),
    )

    def apply(chosen: list[tuple]) -> bytes:
        kept = list(parts)
        for what, at, how in chosen:
            if what == "remove":
                del kept[at : at + how]
            elif what == "double":
                kept[at : at + 1] = kept[at : at + 1] * (how + 1)
            elif what == "move" and at < len(kept):
                kept.insert(how, kept.pop(at))
            elif what == "insert":
                kept.insert(at, how)
        return b"".join(kept)

    return st.lists(edits, min_size=1, max_size=3).map(apply)
