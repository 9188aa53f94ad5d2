"""The arrays through which decoding asks an n-gram model: few operations a query, int32 and float32 only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.language_model.ngram_model import END, START, UNKNOWN, NGramModel, find_keys, trie_keys

_WIDTH = 8
"""Entries in a bucket."""
_FILL = 0.9
"""Share of the entries that are used, about: fuller tables take longer to build."""
_ALONE = 200
"""States with more arcs than this are placed one after the other, the fullest first; smaller ones many at once."""
_TRIALS = 32
"""Places that are tried in vain before the table grows."""
_MOST_ENTRIES = 2**31 // 16


@dataclass(frozen=True)
class NGramTables:
    """A back-off model as a hash table without collisions; letters: S states, N order, R buckets, W entries in each.

    A state is a history that can make a difference: n-grams below the highest order that nothing follows and that
    have no back-off weight are no states, so that equal states mean equal scores for ever. State 0 is the empty
    history. The arcs of state s on word w lie in bucket `places[s] + w`, which is unique for a given s: an entry
    belongs to (s, w) if its key is s.

    Attributes:
        vocabulary: the words by their ids.
        backoff_states: [S, N] int32: the state itself, the one it backs off to, and so on; then 0.
        backoffs: [S * N] float32: ln of the back-off weights up to each of them; 0 for the state itself.
        places: [S] int32.
        keys: [R, W] int32: the state of each arc; -1 where there is none.
        log_probs: [R * W] float32: ln p of each arc.
        next_states: [R * W] int32: the state after each arc.
        final_log_probs: [S] float32: ln p(</s>), back-offs applied.
        history_lens: [S] int8: words of each history.
        start_state: the state after <s>.
        unknown_id: id of <unk>.
        unigram_log_probs: [words] float32: ln p in the empty history.
    """

    vocabulary: list[str]
    backoff_states: np.ndarray
    backoffs: np.ndarray
    places: np.ndarray
    keys: np.ndarray
    log_probs: np.ndarray
    next_states: np.ndarray
    final_log_probs: np.ndarray
    history_lens: np.ndarray
    start_state: int
    unknown_id: int
    unigram_log_probs: np.ndarray

    @property
    def order(self) -> int:
        return self.backoff_states.shape[1]

    @property
    def arrays(self) -> dict[str, np.ndarray]:
        """The arrays by their names, as `advance` takes them."""
        return {name: value for name, value in vars(self).items() if isinstance(value, np.ndarray)}

    @classmethod
    def from_model(cls, model: NGramModel) -> NGramTables:
        """Makes the tables.

        Raises:
            UserError: more than about 100 million n-grams.
        """
        size, order = len(model.vocabulary), model.order
        counts = [1, *map(len, model.orders)]
        if sum(counts) / _FILL > _MOST_ENTRIES:
            raise UserError(f"a language model of {sum(counts):,} n-grams is too large to decode with; prune it")
        # Nodes: 0 is the empty history, then the n-grams by length; a node is its position among the keys plus 1.
        first = np.cumsum([0, *counts])
        parents = np.concatenate(
            [ngrams.prefixes + np.int32(first[n]) for n, ngrams in enumerate(model.orders)], dtype=np.int32
        )
        words = np.concatenate([ngrams.words for ngrams in model.orders])
        backoffs = np.concatenate([[0.0], *(ngrams.log10_backoffs for ngrams in model.orders)], dtype=np.float32)
        keys = trie_keys(parents, words, size)

        suffixes = np.zeros(first[-1], np.int32)
        for n in range(2, order + 1):
            part = slice(first[n], first[n + 1])
            at = slice(first[n] - 1, first[n + 1] - 1)
            suffixes[part] = _advance_nodes(suffixes[parents[at]], words[at], keys, suffixes, size)

        kept = np.zeros(first[-1], bool)
        kept[parents] = True
        kept[: first[order]] |= backoffs[: first[order]] != 0
        kept[0] = True
        kept[first[order] :] = False
        state_of = np.cumsum(kept, dtype=np.int32) - np.int32(1)
        for n in range(1, order + 1):
            part = slice(first[n], first[n + 1])
            state_of[part] = np.where(kept[part], state_of[part], state_of[suffixes[part]])

        nodes = np.flatnonzero(kept)
        lengths = np.searchsorted(first, nodes, side="right") - 1
        backs = state_of[suffixes[nodes]]
        weights = backoffs[nodes] * np.float32(math.log(10))
        chain = np.zeros((len(nodes), order), np.int32)
        sums = np.zeros((len(nodes), order), np.float32)
        chain[:, 0] = np.arange(len(nodes))
        for level in range(1, order):
            chain[:, level] = backs[chain[:, level - 1]]
            sums[:, level] = sums[:, level - 1] + weights[chain[:, level - 1]]

        owners = state_of[parents]
        places, buckets = _place(owners, words, len(nodes), size)
        order_of = np.argsort(buckets, kind="stable")
        sorted_buckets = buckets[order_of]
        rank = np.arange(len(words)) - np.searchsorted(sorted_buckets, sorted_buckets)
        entries = sorted_buckets.astype(np.int64) * _WIDTH + rank
        total = (int(places.max()) + size) * _WIDTH
        table_keys = np.full(total, -1, np.int32)
        table_keys[entries] = owners[order_of]
        ln_probs = (
            np.concatenate([ngrams.log10_probs for ngrams in model.orders]).astype(np.float64) * math.log(10)
        ).astype(np.float32)
        table_probs = np.zeros(total, np.float32)
        table_probs[entries] = ln_probs[order_of]
        table_next = np.zeros(total, np.int32)
        table_next[entries] = state_of[1:][order_of]

        tables = cls(
            vocabulary=model.vocabulary,
            backoff_states=chain,
            backoffs=sums.reshape(-1),
            places=places,
            keys=table_keys.reshape(-1, _WIDTH),
            log_probs=table_probs,
            next_states=table_next,
            final_log_probs=np.zeros(0, np.float32),
            history_lens=lengths.astype(np.int8),
            start_state=int(state_of[1 + model.vocabulary.index(START)]),
            unknown_id=model.vocabulary.index(UNKNOWN),
            unigram_log_probs=ln_probs[:size].copy(),
        )
        states = np.arange(len(nodes), dtype=np.int32)
        final, _ = tables.advance(states, np.full(len(nodes), model.vocabulary.index(END), np.int32))
        object.__setattr__(tables, "final_log_probs", final)
        return tables

    def advance(self, states: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """ln p float32 and the next state int32 of words, an int32 array, each in its state, of the same shape."""
        return advance(self.arrays, states, words, np, lambda array, at: array[at])


def advance(
    arrays: dict[str, Any], states: Any, words: Any, ops: Any, take: Callable[[Any, Any], Any]
) -> tuple[Any, Any]:
    """One word after each history: a fixed number of operations, whatever the order and the size of the model.

    Args:
        arrays: `NGramTables.arrays`, as arrays or tensors.
        states: [...] int32.
        words: [...] int32, in 0 to the size of the vocabulary; `unknown_id` for words that are not in it.
        ops: `numpy`, `jax.numpy` or `keras.ops`.
        take: `take(array, indices)`: rows of an array.

    Returns:
        ln p [...] float32, back-offs applied, and the state after the word [...] int32.
    """
    order, width = arrays["backoff_states"].shape[1], arrays["keys"].shape[1]
    chain = take(arrays["backoff_states"], states)  # [..., N]
    buckets = take(arrays["places"], chain) + words[..., None]  # [..., N]
    mine = take(arrays["keys"], buckets) == chain[..., None]  # [..., N, W]
    # The first level that has the arc counts: an entry's code is its index plus a multiple that falls with the level.
    count = arrays["log_probs"].shape[0]
    codes = (np.arange(order)[::-1, None] * count + np.arange(width)).astype(np.int32)  # [N, W]
    found = ops.max(ops.where(mine, buckets[..., None] * np.int32(width) + codes, np.int32(-1)), axis=(-2, -1))
    level, entry = np.int32(order - 1) - found // np.int32(count), found % np.int32(count)
    weight = take(arrays["backoffs"], states * np.int32(order) + level)
    return take(arrays["log_probs"], entry) + weight, take(arrays["next_states"], entry)


def _advance_nodes(
    nodes: np.ndarray, words: np.ndarray, keys: np.ndarray, suffixes: np.ndarray, size: int
) -> np.ndarray:
    """The node of the longest suffix of "history word"; histories are nodes."""
    found = np.where(nodes == 0, words + 1, -1)
    open_ = np.flatnonzero(nodes != 0)
    while len(open_):
        at = find_keys(keys, trie_keys(nodes[open_], words[open_], size))
        found[open_[at >= 0]] = at[at >= 0] + 1
        open_ = open_[at < 0]
        nodes = nodes.copy()
        nodes[open_] = suffixes[nodes[open_]]
        ended = nodes[open_] == 0
        found[open_[ended]] = words[open_[ended]] + 1
        open_ = open_[~ended]
    return found


def _place(owners: np.ndarray, words: np.ndarray, states: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """A place for each state so that no bucket takes more than `_WIDTH` arcs; owners are sorted, state 0 has all words.

    Returns:
        places [states] int32 and the bucket of each arc int32. The same for the same arcs.
    """
    rng = np.random.default_rng(0)
    starts = np.searchsorted(owners, np.arange(states + 1))
    arcs = np.diff(starts)
    used = np.zeros(max(1, math.ceil(len(words) / (_WIDTH * _FILL)) - size // 2) + size, np.int32)
    places = np.zeros(states, np.int32)
    by_size = np.argsort(-arcs, kind="stable")
    by_size = by_size[: np.count_nonzero(arcs)]
    alone = np.count_nonzero(arcs > _ALONE)

    for state in by_size[:alone].tolist():
        own = words[starts[state] : starts[state + 1]]
        while True:
            trials = rng.integers(0, len(used) - size + 1, _TRIALS).tolist()
            place = next((place for place in trials if used[own + place].max() < _WIDTH), None)
            if place is not None:
                break
            used = _grow(used)
        places[state] = place
        used[own + place] += 1

    waiting, failed = by_size[alone:], 0
    while len(waiting):
        some = waiting[: max(1, np.searchsorted(np.cumsum(arcs[waiting]), len(used) // 2))]
        trial = rng.integers(0, len(used) - size + 1, len(some), dtype=np.int32)
        first = np.cumsum(arcs[some]) - arcs[some]
        at = np.arange(arcs[some].sum()) + np.repeat(starts[some] - first, arcs[some])
        buckets = words[at] + np.repeat(trial, arcs[some])
        full = used + np.bincount(buckets, minlength=len(used)) > _WIDTH
        fits = ~np.logical_or.reduceat(full[buckets], first)
        places[some[fits]] = trial[fits]
        used += np.bincount(buckets[np.repeat(fits, arcs[some])], minlength=len(used)).astype(np.int32)
        waiting = np.concatenate([some[~fits], waiting[len(some) :]])
        failed = 0 if fits.mean() > 1 / _TRIALS else failed + 1
        if failed > 3:
            used, failed = _grow(used), 0
    return places, places[owners] + words


def _grow(used: np.ndarray) -> np.ndarray:
    return np.pad(used, (0, len(used) // 16 + 1))
