"""Reads and writes n-gram models as ARPA files, plain or gzip."""

from __future__ import annotations

import gzip
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import numpy as np

from jasper_tf.errors import UserError, shorten
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.language_model.ngram_model import (
    END,
    MOST_ORDERS,
    START,
    UNKNOWN,
    NGramModel,
    NGrams,
    find_ngrams,
    trie_keys,
)
from jasper_tf.language_model.plain_or_gzip import open_plain_or_gzip

_BLOCK = 1 << 19
"""Bytes that are parsed at a time; no line may be longer."""
_ROWS = 1 << 16
"""N-grams that are written at a time."""
_MOST_NGRAMS = 150_000_000
_MISSING_UNKNOWN = -100.0
"""log10 p of `<unk>` in a model that has none, as KenLM has it."""
_SPACES = np.zeros(256, bool)
_SPACES[list(b" \t\n\r\v\f")] = True


class ArpaError(UserError):
    """An ARPA file that cannot be used.

    Args:
        path: the file.
        line: counted from 1.
        detail: what is wrong and what to do.
    """

    def __init__(self, path: str | Path, line: int, detail: str):
        super().__init__(f"{shorten(path)}: line {line}: {detail}")
        self.path = path
        self.line = line
        self.detail = detail

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.line, self.detail)


def read_arpa(path: str | Path) -> NGramModel:
    """Reads an ARPA file in memory bounded by its n-grams.

    A model without `<unk>` gets one of log10 p = -100, as in KenLM. An n-gram may lack its suffix (SRILM's pruning
    leaves such), but not its prefix.

    Raises:
        ArpaError: the file is not ARPA, is cut, differs from the counts of its header, has a probability above 1 or
            not finite, an n-gram twice or without its prefix, or no `<s>` or `</s>`.
        UserError: it cannot be read.
    """
    with open_plain_or_gzip(path, "language model") as (file, _):
        lines = _Lines(path, file)
        counts = _read_header(lines)
        ids: dict[bytes, int] = {}
        orders: list[NGrams] = []
        keys: list[np.ndarray] = []
        for n, count in enumerate(counts, 1):
            lines.expect(f"\\{n}-grams:")
            first_line = lines.number
            level = _read_section(lines, n, len(counts), count, ids, keys)
            if n == 1:
                level = _require_specials(lines, level, ids)
            key = trie_keys(level.prefixes, level.words, len(ids))
            by_key = np.argsort(key, kind="stable")
            key = key[by_key]
            if (twice := key[1:] == key[:-1]).any():
                line = first_line + int(by_key[1:][twice].min())
                raise ArpaError(path, line, f"this {n}-gram stands in the file twice; make the model again")
            if n < len(counts):
                keys.append(key)
            orders.append(
                NGrams(
                    level.prefixes[by_key],
                    level.words[by_key],
                    level.log10_probs[by_key],
                    level.log10_backoffs[by_key],
                )
            )
        lines.expect("\\end\\")
    return NGramModel([word.decode() for word in sorted(ids, key=ids.__getitem__)], orders)


def write_arpa(model: NGramModel, path: str | Path) -> None:
    """Writes an ARPA file that appears complete or not at all; gzip, the same bytes each time, if it ends in .gz."""
    with atomic_write(path, binary=True) as raw:
        if not os.fspath(path).endswith(".gz"):
            _write(model, raw)
            return
        with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=raw, mtime=0) as packed:
            with io.BufferedWriter(packed, 1 << 16) as file:  # type: ignore[arg-type]  # GzipFile has what it needs
                _write(model, file)


def _write(model: NGramModel, file: IO[bytes]) -> None:
    counts = "".join(f"ngram {n}={len(ngrams)}\n" for n, ngrams in enumerate(model.orders, 1))
    file.write(f"\\data\\\n{counts}".encode())
    words = np.array(model.vocabulary, object)
    for n, ngrams in enumerate(model.orders, 1):
        file.write(f"\n\\{n}-grams:\n".encode())
        for at in range(0, len(ngrams), _ROWS):
            part = slice(at, at + _ROWS)
            texts = map(" ".join, words[model.ngram_ids(n, part)])
            probs, backoffs = ngrams.log10_probs[part].tolist(), ngrams.log10_backoffs[part].tolist()
            if n < model.order:
                rows = [f"{p:.7g}\t{t}\t{b:.7g}\n" for p, t, b in zip(probs, texts, backoffs, strict=True)]
            else:
                rows = [f"{p:.7g}\t{t}\n" for p, t in zip(probs, texts, strict=True)]
            file.write("".join(rows).encode())
    file.write(b"\n\\end\\\n")


class _Lines:
    """The lines of a file in blocks, with their numbers."""

    def __init__(self, path: str | Path, file: IO[bytes]):
        self.path = path
        self.number = 1
        """Of the next line."""
        self._file = file
        self._rest = b""
        """Read, not yet taken: whole lines but for the last, unless the file has ended."""
        self._ended = False

    def _fill(self) -> None:
        while not self._ended and b"\n" not in self._rest:
            self._more()

    def _more(self) -> None:
        if len(self._rest) > _BLOCK:
            raise ArpaError(self.path, self.number, f"longer than {_BLOCK:,} bytes; is this an ARPA file?")
        more = self._file.read(_BLOCK)
        self._ended = not more
        self._rest += more
        if self._ended and self._rest and not self._rest.endswith(b"\n"):
            self._rest += b"\n"

    def line(self) -> bytes | None:
        """The next line that is not blank; None at the end of the file."""
        while True:
            self._fill()
            end = self._rest.find(b"\n") + 1
            if not end:
                return None
            line, self._rest = self._rest[:end], self._rest[end:]
            self.number += 1
            if stripped := line.strip():
                return stripped

    def expect(self, text: str) -> None:
        """Takes the next line, which must be `text`."""
        line = self.line()
        if line is None:
            raise ArpaError(self.path, self.number, f"ends where {text} should stand: the file is cut")
        if line != text.encode():
            at = max(1, self.number - 1)
            raise ArpaError(self.path, at, f"{_show(line)} where {text} should stand; counts of the header are wrong?")

    def section(self) -> Iterator[bytes]:
        """Blocks of whole lines up to the next line that begins with a backslash; `number` is that of their first."""
        while True:
            self._fill()
            # As the rest begins with a whole line, only whole lines are looked at.
            whole = self._rest.rfind(b"\n") + 1
            at = 0 if self._rest.startswith(b"\\") else self._rest.find(b"\n\\", 0, whole) + 1 or whole
            if at:
                block, self._rest = self._rest[:at], self._rest[at:]
                if block.strip():
                    yield block
                self.number += block.count(b"\n")
            if self._rest.startswith(b"\\") or (self._ended and not self._rest):
                return
            if not self._ended:
                self._more()


def _show(line: bytes) -> str:
    return repr(shorten(line.decode("utf-8", "replace"), 60))


def _read_header(lines: _Lines) -> list[int]:
    first = lines.line()
    while first is not None and first.startswith(b"#"):  # lmplz --verbose_header
        first = lines.line()
    if first != b"\\data\\":
        shown = "is empty" if first is None else "is not an ARPA file, which is text and begins with \\data\\"
        raise ArpaError(lines.path, max(1, lines.number - 1), shown)
    counts: list[int] = []
    while True:
        lines._fill()
        if lines._rest.lstrip().startswith(b"\\"):
            break
        line = lines.line()
        found = re.fullmatch(rb"ngram\s+(\d{1,2})\s*=\s*(\d{1,12})", line or b"")
        at = max(1, lines.number - 1)
        if not found:
            shown = "the file is cut" if line is None else f"{_show(line)} is no count such as 'ngram 1=1000'"
            raise ArpaError(lines.path, at, shown)
        if int(found[1]) != len(counts) + 1:
            raise ArpaError(lines.path, at, f"the count of {len(counts) + 1}-grams should stand here")
        counts.append(int(found[2]))
    if not 1 <= len(counts) <= MOST_ORDERS:
        raise ArpaError(lines.path, lines.number, f"has {len(counts)} orders; 1 to {MOST_ORDERS} can be read")
    if sum(counts) > _MOST_NGRAMS:
        raise ArpaError(lines.path, lines.number, f"{sum(counts):,} n-grams; at most {_MOST_NGRAMS:,} can be read")
    return counts


def _require_specials(lines: _Lines, level: NGrams, ids: dict[bytes, int]) -> NGrams:
    """The 1-grams, with `<unk>`."""
    for word in (START, END):
        if word.encode() not in ids:
            raise ArpaError(lines.path, lines.number, f"no {word} among the 1-grams; make the model again")
    unknown = UNKNOWN.encode()
    if unknown in ids:
        return level
    if b"<UNK>" in ids:
        ids[unknown] = ids.pop(b"<UNK>")
        return level
    ids[unknown] = len(ids)
    return NGrams(
        np.append(level.prefixes, np.int32(0)),
        np.append(level.words, np.int32(len(level))),
        np.append(level.log10_probs, np.float32(_MISSING_UNKNOWN)),
        np.append(level.log10_backoffs, np.float32(0)),
    )


def _read_section(
    lines: _Lines, n: int, order: int, count: int, ids: dict[bytes, int], keys: list[np.ndarray]
) -> NGrams:
    """The n-grams of one length in the order of the file; fills `ids` from the 1-grams."""
    columns: tuple[list[np.ndarray], ...] = [], [], [], []
    found = 0
    for block in lines.section():
        part = _parse(lines, block, n, n < order, ids, keys)
        for column, values in zip(columns, vars(part).values(), strict=True):
            column.append(values)
        found += len(part)
        if found > count:
            raise ArpaError(lines.path, lines.number, f"more {n}-grams than the {count:,} of the header")
    if found < count:
        raise ArpaError(lines.path, lines.number, f"{found:,} {n}-grams, the header says {count:,}: the file is cut")
    joined = []
    for column, kind in zip(columns, (np.int32, np.int32, np.float32, np.float32), strict=True):
        joined.append(np.concatenate([np.zeros(0, kind), *column]))
        column.clear()  # so that no more than one is held twice
    return NGrams(*joined)


def _parse(
    lines: _Lines, block: bytes, n: int, backs_off: bool, ids: dict[bytes, int], keys: list[np.ndarray]
) -> NGrams:
    """Parses whole lines without a Python loop over them: only functions that run in C see each field."""
    block = block.rstrip() + b"\n"
    width = n + 1 + backs_off
    fields = _count_fields(block)
    if (wrong := (fields != width) & ((fields != n + 1) | (not backs_off))).any():
        at = int(wrong.argmax())
        has = f"{n + 1} or {n + 2}" if backs_off else str(n + 1)
        raise ArpaError(lines.path, lines.number + at, f"{fields[at]} fields, but a line of a {n}-gram has {has}")
    if (short := fields != width).any():
        padded = zip(block.splitlines(), short.tolist(), strict=True)
        block = b"\n".join(line + b"\t0" if lacks else line for line, lacks in padded)
    tokens = block.split()
    count, known = len(fields), len(ids)
    prefixes = np.zeros(count, np.int32)
    try:
        probs = np.fromiter(map(float, tokens[::width]), np.float32, count)
        backoffs = np.zeros(count, np.float32)
        if backs_off:
            backoffs = np.fromiter(map(float, tokens[n + 1 :: width]), np.float32, count)
        if n == 1:
            for word in tokens[1::width]:
                ids.setdefault(word, len(ids))
            b"\n".join(tokens[1::width]).decode()
            if len(ids) != known + count:
                raise KeyError
        for column in range(n):
            words = np.fromiter(map(ids.__getitem__, tokens[1 + column :: width]), np.int32, count)
            if 0 < column < n - 1:
                prefixes = find_ngrams(keys[column], prefixes, words, len(ids))
            elif column < n - 1:
                prefixes = words
    except (ValueError, KeyError):
        raise _find_fault(lines, tokens, n, width, ids, known) from None
    if (wrong := ~(probs <= 0) | ~np.isfinite(probs) | ~np.isfinite(backoffs)).any():
        at = int(wrong.argmax())
        detail = f"log10 p = {probs[at]:g}, back-off {backoffs[at]:g}; a probability is at most 0, and both are finite"
        raise ArpaError(lines.path, lines.number + at, detail)
    if (missing := prefixes < 0).any():
        at = int(missing.argmax())
        raise ArpaError(lines.path, lines.number + at, f"the first {n - 1} words are no {n - 1}-gram of this model")
    return NGrams(prefixes, words, probs, backoffs)


def _count_fields(block: bytes) -> np.ndarray:
    """The number of fields of each line; `block` ends in a newline."""
    raw = np.frombuffer(block, np.uint8)
    space = _SPACES[raw]
    ends = space[1:] & ~space[:-1]
    at = np.flatnonzero(raw == ord("\n"))
    before = np.cumsum(ends, dtype=np.int32)[np.maximum(at - 1, 0)]
    return np.diff(before, prepend=0)


def _find_fault(lines: _Lines, tokens: list[bytes], n: int, width: int, ids: dict[bytes, int], known: int) -> ArpaError:
    """The first line that cannot be parsed; words with an id below `known` stand in earlier blocks."""
    seen: set[bytes] = set()
    for row in range(len(tokens) // width):
        fields = tokens[row * width : (row + 1) * width]
        number = lines.number + row
        for field in (fields[0], *fields[n + 1 :]):
            try:
                float(field)
            except ValueError:
                return ArpaError(lines.path, number, f"{_show(field)} is no number")
        for word in fields[1 : n + 1]:
            if n > 1 and word not in ids:
                return ArpaError(lines.path, number, f"{_show(word)} is none of the 1-grams; the file is damaged")
            try:
                word.decode()
            except UnicodeDecodeError:
                return ArpaError(lines.path, number, f"{_show(word)} is not UTF-8; convert the file")
        if n == 1 and (fields[1] in seen or ids.get(fields[1], known) < known):
            return ArpaError(lines.path, number, f"{_show(fields[1])} stands in the file twice; make the model again")
        seen.add(fields[1])
    raise AssertionError("a block without a fault")
