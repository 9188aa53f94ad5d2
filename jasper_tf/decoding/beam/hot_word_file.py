"""Hot words as they are given, in a file or in Python, and their bounds. A client that reads one waits for no Keras."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jasper_tf.errors import UserError, shorten
from jasper_tf.io.bounded_file import read_bounded

LARGEST_WEIGHT = 50.0
MOST_LETTERS = 1 << 18
"""Hot words times the letters of the longest one."""
LONGEST = 255
"""Letters of a hot word."""

GivenHotWords = Mapping[str, float] | Collection[str]
"""Words or phrases with their weights, or a list, tuple or set of those that get the default weight."""

_WEIGHT = re.compile(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?", re.ASCII | re.IGNORECASE)
"""Not all that `float` takes: nan and infinity are words."""


class HotWordsOfFile(dict[str, float]):
    """Words or phrases with their weights.

    Attributes:
        places: `file:line` of each.
    """

    def __init__(self) -> None:
        super().__init__()
        self.places: dict[str, str] = {}


def read_hot_words(path: str | Path, default_weight: float) -> HotWordsOfFile:
    """Reads a file of hot words: a word or phrase in each line, then its weight if it has one of its own.

    Empty lines and those that begin with # are passed over.

    Raises:
        UserError: it cannot be read, is no text, holds no hot word, or a weight is not between -50 and 50.
    """
    name = shorten(path)
    try:
        text = read_bounded(path, MOST_LETTERS * 4, "file of hot words").decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise UserError(f"{name}: is not a text file; write a word or phrase in each line, UTF-8")
    found = HotWordsOfFile()
    for number, line in enumerate(text.splitlines(), 1):
        words, weight = line.split(), default_weight
        if not words or words[0].startswith("#"):
            continue
        if _WEIGHT.fullmatch(words[-1]):
            weight = float(words[-1])
            shown = shorten(words.pop(), 20)
            if not words:
                raise UserError(f"{name}:{number}: {shown} is only a number; write a word first, numbers spelled out")
            if not _is_weight(weight):
                raise UserError(
                    f"{name}:{number}: the number behind a word is its weight, and {shown} is not within "
                    f"-{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}; spell out numbers that are said"
                )
        phrase = " ".join(words)
        found[phrase], found.places[phrase] = weight, f"{name}:{number}"
    if not found:
        raise UserError(f"{name}: no hot words; write one in each line")
    return found


def weigh_hot_words(given: GivenHotWords, default_weight: float) -> Mapping[str, float]:
    """Gives hot words without weights the default one.

    Raises:
        UserError: `given` is a string or nothing of this kind, or a weight is not a number between -50 and 50.
    """
    weighed: Any = given
    if isinstance(given, list | tuple | set | frozenset) and all(isinstance(word, str) for word in given):
        weighed = dict.fromkeys(given, default_weight)
    if not isinstance(weighed, Mapping) or not all(isinstance(word, str) for word in weighed):
        raise UserError(
            f'hot_words: {shorten(repr(given), 60)}: give a list of words, or words with their weights: {{"jasper": 8}}'
        )
    for phrase, weight in weighed.items():
        if not _is_weight(weight):
            raise UserError(
                f"{name_hot_word(weighed, phrase)}: weight {shorten(repr(weight), 20)}; "
                f"use a number from -{LARGEST_WEIGHT:g} to {LARGEST_WEIGHT:g}"
            )
    return weighed


def _is_weight(value: Any) -> bool:
    return isinstance(value, int | float | np.integer | np.floating) and bool(np.abs(value) <= LARGEST_WEIGHT)


def name_hot_word(hot_words: Mapping[str, float], phrase: str) -> str:
    """What messages call one of them; begins with `file:line` if it is of a file."""
    place = f"{hot_words.places[phrase]}: " if isinstance(hot_words, HotWordsOfFile) else ""
    return f"{place}hot word {shorten(phrase, 60)!r}"
