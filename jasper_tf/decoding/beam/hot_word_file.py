"""Files of hot words, and their bounds. A client that reads one waits for no Keras."""

from __future__ import annotations

from pathlib import Path

from jasper_tf.errors import UserError, shorten
from jasper_tf.io.bounded_file import read_bounded

LARGEST_WEIGHT = 50.0
MOST_LETTERS = 1 << 18
"""Hot words times the letters of the longest one."""
LONGEST = 255
"""Letters of a hot word."""


def read_hot_words(path: str | Path, default_weight: float) -> dict[str, float]:
    """Reads a file of hot words: a word or phrase in each line, then its weight if it has one of its own.

    Empty lines and those that begin with # are passed over.

    Raises:
        UserError: it cannot be read, or holds no hot word.
    """
    found = {}
    for line in read_bounded(path, MOST_LETTERS * 4, "file of hot words").decode("utf-8", "replace").splitlines():
        phrase, _, last = line.strip().rpartition(" ")
        try:
            weight = float(last)
        except ValueError:
            phrase, weight = line.strip(), default_weight
        if phrase and not phrase.startswith("#"):
            found[phrase] = weight
    if not found:
        raise UserError(f"{shorten(path)}: no hot words; write one in each line")
    return found
