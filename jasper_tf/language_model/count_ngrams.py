"""Counts the n-grams of a corpus by sorting, in blocks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from jasper_tf.language_model.corpus import START_ID, Corpus
from jasper_tf.language_model.ngram_model import trie_keys

_BLOCK = 1 << 21


@dataclass(frozen=True)
class NGramCounts:
    """How often the n-grams of one length n occur, sorted by (prefix, word) as in `NGrams`.

    Attributes:
        prefixes: [count] int32: index of the first n - 1 words among the n-grams of length n - 1; 0 for n = 1.
        suffixes: [count] int32: the same of the last n - 1 words.
        words: [count] int32: the last word.
        counts: [count] int64.
    """

    prefixes: np.ndarray
    suffixes: np.ndarray
    words: np.ndarray
    counts: np.ndarray


def count_ngrams(corpus: Corpus, order: int, advance: Callable[[int], None] = lambda _: None) -> list[NGramCounts]:
    """The n-grams of length 1 to `order` within sentences, `<s>` and `</s>` included.

    Args:
        advance: is called with the words that were counted; all in all `order` times the corpus.
    """
    size = len(corpus.vocabulary)
    zeros = np.zeros(size, np.int32)
    starts = range(0, len(corpus.ids), _BLOCK)
    counts = np.zeros(size, np.int64)
    for start in starts:
        counts += np.bincount(corpus.ids[start : start + _BLOCK], minlength=size)
    levels = [NGramCounts(zeros, zeros, np.arange(size, dtype=np.int32), counts)]
    advance(len(corpus.ids))
    # Index of the n-gram that ends at each position; -1 where it would begin before its sentence.
    at = corpus.ids.copy()
    for _ in range(1, order):
        keys, suffixes, numbers = [], [], []
        for start in reversed(starts):  # so that the position before a block still holds the shorter n-gram
            block = slice(start, start + _BLOCK)
            before = at[max(0, start - 1) : min(start + _BLOCK, len(at)) - 1]
            if start == 0:
                before = np.concatenate([np.array([-1], np.int32), before])
            words = corpus.ids[block]
            inside = (before >= 0) & (words != START_ID)
            unique, first, inverse, number = _group(trie_keys(before[inside], words[inside], size))
            keys.append(unique)
            suffixes.append(at[block][inside][first])
            numbers.append(number)
            ends = np.full(len(words), -1, np.int32)
            ends[inside] = inverse
            at[block] = ends
            advance(len(words))
        sizes = [len(part) for part in keys]
        unique, first, inverse, _ = _group(np.concatenate(keys))
        keys.clear()
        counts = np.bincount(inverse, weights=np.concatenate(numbers), minlength=len(unique)).astype(np.int64)
        levels.append(
            NGramCounts(
                (unique // size).astype(np.int32),
                np.concatenate(suffixes)[first],
                (unique % size).astype(np.int32),
                counts,
            )
        )
        for start, renumber in zip(reversed(starts), np.split(inverse, np.cumsum(sizes)[:-1]), strict=True):
            ends = at[start : start + _BLOCK]
            inside = ends >= 0
            ends[inside] = renumber[ends[inside]]
    return levels


def _group(keys: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Sorted unique keys, the index of one of each, the unique one of each key, how many of each."""
    by_key = np.argsort(keys)
    keys = keys[by_key]
    new = np.ones(len(keys), bool)
    new[1:] = keys[1:] != keys[:-1]
    first = np.flatnonzero(new)
    inverse = np.empty(len(keys), np.int32)
    inverse[by_key] = np.cumsum(new, dtype=np.int32) - 1
    return keys[first], by_key[first], inverse, np.diff(first, append=len(keys))
