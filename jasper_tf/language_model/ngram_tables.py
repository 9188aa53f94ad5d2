"""The arrays through which decoding asks an n-gram model: few operations a query, int32 and float32 only."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jasper_tf.errors import UserError
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

_WIDTH = 8
"""Entries in a bucket."""
_FILL = 0.9
"""Share of the entries that are used, about: fuller tables take longer to build."""
_ALONE = 200
"""States with more arcs than this are placed one after the other, the fullest first; smaller ones many at once."""
_TRIALS = 32
"""Places that are tried in vain before the table grows."""
_AT_ONCE = 1 << 16
_QUERIES_AT_ONCE = 1 << 13
_MOST_ENTRIES = 2**31 // (
    3 * MOST_ORDERS
)  # `advance` needs N times the entries to be an int32, after the table has grown


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
            UserError: more than about 60 million n-grams.
        """
        vocabulary, order = model.vocabulary, model.order
        size, counts = len(vocabulary), [1, *map(len, model.orders)]
        if sum(counts) / _FILL > _MOST_ENTRIES:
            raise UserError(f"a language model of {sum(counts):,} n-grams is too large to decode with; prune it")
        # Nodes: 0 is the empty history, then the n-grams by length; the arc into a node has its number less 1.
        first = np.cumsum([0, *counts])
        suffixes = _suffixes(model.orders, first, size)
        parents = np.concatenate(
            [level.prefixes + np.int32(start) for level, start in zip(model.orders, first, strict=False)]
        )
        words = np.concatenate([level.words for level in model.orders])
        log_probs = np.concatenate([level.log10_probs for level in model.orders])
        log_probs *= np.float32(math.log(10))
        backoffs = np.concatenate([np.zeros(1, np.float32), *(level.log10_backoffs for level in model.orders[:-1])])
        backoffs *= np.float32(math.log(10))
        del model  # the last one that holds it, if it was made for this call

        kept = np.zeros(first[-1], bool)
        kept[: len(backoffs)] = backoffs != 0
        kept[parents] = True
        kept[0] = True
        states = np.cumsum(kept, dtype=np.int32)
        states -= 1
        for start, end in zip(first[1:-1], first[2:], strict=True):
            dropped = start + np.flatnonzero(~kept[start:end])
            states[dropped] = states[suffixes[dropped]]

        nodes = np.flatnonzero(kept)
        backs, weights = states[suffixes[nodes]], backoffs[nodes]
        chain = np.zeros((len(nodes), order), np.int32)
        sums = np.zeros((len(nodes), order), np.float32)
        chain[:, 0] = np.arange(len(nodes))
        for level in range(1, order):
            chain[:, level] = backs[chain[:, level - 1]]
            sums[:, level] = sums[:, level - 1] + weights[chain[:, level - 1]]
        lengths = (np.searchsorted(first, nodes, side="right") - 1).astype(np.int8)
        del suffixes, kept, backoffs, backs, weights, nodes

        owners = states[parents]
        del parents
        places = _place(owners, words, len(chain), size)
        keys, table_probs, table_next = _fill(places, owners, words, size, log_probs, states[1:])
        start_state = int(states[1 + vocabulary.index(START)])
        tables = cls(
            vocabulary=vocabulary,
            backoff_states=chain,
            backoffs=sums.reshape(-1),
            places=places,
            keys=keys,
            log_probs=table_probs,
            next_states=table_next,
            final_log_probs=np.zeros(len(chain), np.float32),
            history_lens=lengths,
            start_state=start_state,
            unknown_id=vocabulary.index(UNKNOWN),
            unigram_log_probs=log_probs[:size].copy(),
        )
        del owners, words, log_probs, states
        end = np.int32(vocabulary.index(END))
        for some in np.array_split(np.arange(len(chain), dtype=np.int32), 1 + len(chain) // _QUERIES_AT_ONCE):
            tables.final_log_probs[some], _ = tables.advance(some, np.full(len(some), end))
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


def _suffixes(orders: list[NGrams], first: np.ndarray, size: int) -> np.ndarray:
    """For each node that of its longest suffix in the model, not itself: [nodes] int32."""
    suffixes = np.zeros(first[-1], np.int32)
    keys = np.concatenate(
        [trie_keys(level.prefixes + start, level.words, size) for level, start in zip(orders[:-1], first, strict=False)]
        or [np.zeros(0, np.int64)]
    )
    for n, level in enumerate(orders[1:], 2):
        for at in range(0, len(level), _AT_ONCE):
            words = level.words[at : at + _AT_ONCE]
            history = suffixes[level.prefixes[at : at + _AT_ONCE] + first[n - 1]]
            found = np.where(history == 0, words + 1, 0)
            # A word follows the history, or the longest suffix of it that it follows; at last the empty one.
            open_ = np.flatnonzero(history)
            while len(open_):
                child = find_ngrams(keys, history[open_], words[open_], size)
                found[open_] = child + 1
                history[open_] = suffixes[history[open_]]
                open_ = open_[child < 0]
                ended = history[open_] == 0
                found[open_[ended]] = words[open_[ended]] + 1
                open_ = open_[~ended]
            suffixes[first[n] + at : first[n] + at + len(words)] = found
    return suffixes


def _place(owners: np.ndarray, words: np.ndarray, states: int, size: int) -> np.ndarray:
    """A place for each state so that no bucket takes more than `_WIDTH` arcs; the same for the same arcs.

    Args:
        owners: [arcs] int32: the state of each, in ascending order; the first has all words.
        words: [arcs] int32.

    Returns:
        places [states] int32.
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
    return places


def _fill(
    places: np.ndarray, owners: np.ndarray, words: np.ndarray, size: int, log_probs: np.ndarray, after: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Puts each arc into an entry of its bucket: `NGramTables.keys`, `log_probs` and `next_states`."""
    count = int(places.max()) + size
    keys = np.full((count, _WIDTH), -1, np.int32)
    table_probs, table_next = np.zeros((count, _WIDTH), np.float32), np.zeros((count, _WIDTH), np.int32)
    used = np.zeros(count, np.int32)
    chosen = np.empty(count, np.int32)
    for at in range(0, len(words), _AT_ONCE):
        left = np.arange(at, min(at + _AT_ONCE, len(words)), dtype=np.int32)
        while len(left):
            buckets = places[owners[left]] + words[left]
            chosen[buckets] = left  # of the arcs of one bucket, the last one stays
            here = chosen[buckets] == left
            arcs, rows = left[here], buckets[here]
            entries = rows, used[rows]
            keys[entries], table_probs[entries], table_next[entries] = owners[arcs], log_probs[arcs], after[arcs]
            used[rows] += 1
            left = left[~here]
    return keys, table_probs.reshape(-1), table_next.reshape(-1)


def _grow(used: np.ndarray) -> np.ndarray:
    return np.pad(used, (0, len(used) // 16 + 1))
