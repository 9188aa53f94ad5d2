"""The words that labels can spell, as a trie in flat arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

LONGEST_UNKNOWN = 30
"""Letters of a word outside the lexicon that are counted."""


@dataclass(frozen=True)
class Lexicon:
    """A trie of words; n nodes, V labels. Node 0 is the root, where a word begins.

    The last `LONGEST_UNKNOWN` nodes are outside: a word that begins no word of the lexicon is in the node of its
    number of letters.

    Attributes:
        children: [n,V+2] int32: the node after each label; the root after a space, the node itself after none.
        words: [n] int32: the id of the word that ends in each node.
        parents: [n] int32: of the nodes before the outside ones.
        depths: [n] int32: letters.
    """

    children: np.ndarray
    words: np.ndarray
    parents: np.ndarray
    depths: np.ndarray

    def __len__(self) -> int:
        return len(self.words)

    @property
    def outside(self) -> int:
        """The first node of words that are not in the lexicon."""
        return len(self) - LONGEST_UNKNOWN

    @classmethod
    def from_words(cls, words: dict[str, int], labels: Sequence[str], unknown_id: int) -> Lexicon:
        """Makes the trie of words with their ids; each letter is a label, one label is a space."""
        codes = {label: at for at, label in enumerate(labels)}
        spelled = sorted(words)
        lengths = np.array([len(word) for word in spelled], np.int32)
        letters = np.full((len(spelled), int(lengths.max(initial=0))), -1, np.int32)
        letters[np.arange(letters.shape[1]) < lengths[:, None]] = [codes[letter] for letter in "".join(spelled)]

        # Level by level: nodes are numbered by (parent, letter).
        node = np.zeros(len(spelled), np.int32)
        levels = [(np.zeros(1, np.int32), np.zeros(1, np.int32))]
        count = 1
        for depth in range(letters.shape[1]):
            longer = np.flatnonzero(lengths > depth)
            keys = node[longer].astype(np.int64) * len(labels) + letters[longer, depth]
            unique, inverse = np.unique(keys, return_inverse=True)
            levels.append((unique // len(labels), unique % len(labels)))
            node[longer] = count + inverse.reshape(-1)
            count += len(unique)
        parents = np.concatenate([of_level for of_level, _ in levels]).astype(np.int32)
        last_letters = np.concatenate([of_level for _, of_level in levels])

        depths = np.repeat(np.arange(len(levels)), [len(of_level) for of_level, _ in levels])
        depths = np.concatenate([depths, np.arange(1, LONGEST_UNKNOWN + 1)]).astype(np.int32)
        beyond = count + np.minimum(depths, LONGEST_UNKNOWN - 1)
        children = np.repeat(beyond[:, None], len(labels) + 2, axis=1).astype(np.int32)
        children[parents[1:], last_letters[1:]] = np.arange(1, count)
        children[:, list(labels).index(" ")] = 0
        children[:, len(labels)] = np.arange(len(depths))
        ids = np.full(len(depths), unknown_id, np.int32)
        ids[node] = [words[word] for word in spelled]
        return cls(children, ids, parents, depths)

    def best_below(self, scores: np.ndarray) -> np.ndarray:
        """The highest score of the words [words] that begin with each node [n]; -inf outside."""
        best = np.where(self.words == self.words[-1], -np.inf, scores[self.words])  # outside are unknown words
        for depth in range(int(self.depths[: self.outside].max(initial=0)), 0, -1):
            nodes = np.flatnonzero(self.depths[: self.outside] == depth)
            np.maximum.at(best, self.parents[nodes], best[nodes])
        return best
