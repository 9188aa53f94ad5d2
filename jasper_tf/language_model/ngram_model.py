"""An n-gram back-off model as a trie of flat arrays."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

UNKNOWN, START, END = "<unk>", "<s>", "</s>"
MOST_ORDERS = 10
_FOUND_AT_ONCE = 1 << 16


@dataclass(frozen=True)
class NGrams:
    """The n-grams of one length n, sorted by (prefix, word), each once.

    Attributes:
        prefixes: [count] int32: index of the first n - 1 words among the n-grams of length n - 1; 0 for n = 1.
        words: [count] int32: id of the last word; for n = 1 these are 0, 1, 2, ...
        log10_probs: [count] float32.
        log10_backoffs: [count] float32; 0 for the highest order.
    """

    prefixes: np.ndarray
    words: np.ndarray
    log10_probs: np.ndarray
    log10_backoffs: np.ndarray

    def __len__(self) -> int:
        return len(self.words)


@dataclass(frozen=True)
class NGramModel:
    """A back-off model: p(w | h) is that of the n-gram "h w", or backoff(h) p(w | h without its first word).

    Attributes:
        vocabulary: the words by their ids; one is `<unk>`, one `<s>`, one `</s>`.
        orders: the n-grams of length 1, 2, ..., N.
    """

    vocabulary: list[str]
    orders: list[NGrams]

    @property
    def order(self) -> int:
        return len(self.orders)

    def ngram_ids(self, n: int, part: slice = slice(None)) -> np.ndarray:
        """The words of the n-grams of length n, or of a slice of them: [count, n] int32."""
        columns = [self.orders[n - 1].words[part]]
        at = self.orders[n - 1].prefixes[part]
        for level in self.orders[n - 2 :: -1] if n > 1 else ():
            columns.append(level.words[at])
            at = level.prefixes[at]
        return np.stack(columns[::-1], axis=1)


def trie_keys(prefixes: np.ndarray, words: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """(prefix, word) as one int64: the order of `NGrams`."""
    return prefixes.astype(np.int64) * vocabulary_size + words


def find_ngrams(keys: np.ndarray, prefixes: np.ndarray, words: np.ndarray, vocabulary_size: int) -> np.ndarray:
    """Where (prefix, word) stands among sorted `trie_keys`: [count] int32, -1 where it is missing or the prefix is."""
    found = np.full(len(words), -1, np.int32)
    for start in range(0, len(words) if len(keys) else 0, _FOUND_AT_ONCE):
        part = slice(start, start + _FOUND_AT_ONCE)
        wanted = trie_keys(prefixes[part], words[part], vocabulary_size)
        at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        found[part] = np.where(keys[at] == wanted, at, -1)
    return found
