"""Text as arrays of word ids, a line at a time."""

from __future__ import annotations

import functools
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.io.progress import Progress
from jasper_tf.language_model.ngram_model import END, START, UNKNOWN
from jasper_tf.language_model.plain_or_gzip import open_plain_or_gzip
from jasper_tf.language_model.spelling import SPACE

Unit = Literal["word", "label"]
Line = tuple[str, bytes]
"""Where it stands ("corpus.txt:12") and the text of one sentence."""

UNKNOWN_ID, START_ID, END_ID = 0, 1, 2
LONGEST_LINE = 1 << 24
_PART = 1 << 20


@dataclass(frozen=True)
class Corpus:
    """Sentences as word ids.

    Attributes:
        vocabulary: `<unk>`, `<s>`, `</s>`, then the words in the order in which they first occur.
        ids: [positions] int32: for each sentence `<s>`, its words, `</s>`.
    """

    vocabulary: list[str]
    ids: np.ndarray


class _Vocabulary(dict):
    """The id of a word; a new word gets the next one."""

    def __missing__(self, word: bytes | str) -> int:
        if isinstance(word, bytes):
            word.decode()
        self[word] = found = len(self)
        return found


def text_lines(paths: Sequence[str | Path], progress: Progress | None = None) -> Iterator[Line]:
    """The lines of text files, plain or gzip.

    Args:
        progress: is advanced by the bytes read from the disk.

    Raises:
        UserError: a file cannot be read, or a line is longer than 16 MB.
    """
    for path in paths:
        with open_plain_or_gzip(path, "text") as (file, raw):
            before = 0
            lines = iter(functools.partial(file.readline, LONGEST_LINE + 1), b"")
            for number, line in enumerate(lines, 1):
                if len(line) > LONGEST_LINE:
                    raise UserError(f"{path}:{number}: longer than {LONGEST_LINE:,} bytes; is this a text?")
                yield f"{path}:{number}", line
                if progress and number % 1000 == 0 and raw.seekable():
                    progress.advance(raw.tell() - before)
                    before = raw.tell()


def split_units(line: bytes, unit: Unit) -> list:
    """The words of a line (bytes), or its characters with `|` for the space (str).

    Raises:
        UserError: the line is not UTF-8, or holds a `|` where that is the space; without the place.
    """
    if unit == "word":
        return line.split()
    try:
        text = " ".join(line.decode().split())
    except UnicodeDecodeError:
        raise UserError("is not UTF-8; convert the text") from None
    if SPACE in text:
        raise UserError(f"holds a {SPACE!r}, which stands for the space; remove it from the text")
    return list(text.replace(" ", SPACE))


def read_corpus(lines: Iterable[Line], unit: Unit = "word", name: str = "the text") -> Corpus:
    """Reads sentences; an empty line is an empty sentence, as in KenLM.

    Args:
        name: of the text, for the message that it is empty.

    Raises:
        UserError: there is no word at all, or a line is not UTF-8 or holds `<s>`, `</s>` or `<unk>`.
    """
    specials = [UNKNOWN, START, END]
    keys = [word.encode() if unit == "word" else word for word in specials]
    ids = _Vocabulary({key: at for at, key in enumerate(keys)})
    special = frozenset(keys)
    parts, part = [], array("i")
    for place, line in lines:
        try:
            words = split_units(line, unit)
            if not special.isdisjoint(words):
                raise UserError(f"holds one of {', '.join(specials)}; remove it from the text")
            part.append(START_ID)
            part.extend(map(ids.__getitem__, words))
            part.append(END_ID)
        except UnicodeDecodeError:
            raise UserError(f"{place}: is not UTF-8; convert the text") from None
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        if len(part) >= _PART:
            parts.append(np.array(part, np.int32))
            part = array("i")
    if len(ids) == len(specials):
        raise UserError(f"{name}: holds no word; give a text to learn from")
    parts.append(np.array(part, np.int32))
    return Corpus([word.decode() if isinstance(word, bytes) else word for word in ids], np.concatenate(parts))
