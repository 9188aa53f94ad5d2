"""Modified Kneser-Ney smoothing (Chen and Goodman 1998), as KenLM's lmplz estimates it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.language_model.corpus import END_ID, START_ID, UNKNOWN_ID, Corpus
from jasper_tf.language_model.count_ngrams import NGramCounts, count_ngrams
from jasper_tf.language_model.ngram_model import MOST_ORDERS, NGramModel, NGrams

FALLBACK_DISCOUNTS = (0.5, 1.0, 1.5)
"""Of n-grams seen once, twice and more often, where the closed form has no solution; lmplz's default."""


def estimate(
    corpus: Corpus,
    order: int,
    prune: Sequence[int] = (0,),
    words: Collection[str] | None = None,
    discount_fallback: bool = False,
    advance: Callable[[int], None] = lambda _: None,
) -> NGramModel:
    """Estimates an interpolated model with three discounts for each order.

    Lower orders count the different words before an n-gram, unless it begins with `<s>`; `<unk>` gets the uniform share
    of the mass that is left of the 1-grams. Probabilities and back-offs are those of `lmplz -o order --prune ...`.
    Memory: 8 bytes a word of the corpus, and about 70 bytes a different n-gram before pruning.

    Args:
        prune: for each order, n-grams seen that often or less are left out; the last value goes for higher orders.
        words: n-grams with other words are left out. Default: all words are kept.
        discount_fallback: take `FALLBACK_DISCOUNTS` where the counts give no discounts (small or artificial texts).
        advance: as in `count_ngrams`.

    Raises:
        UserError: the order is not 1 to 10, the thresholds fall or are more than the orders, or the text is too small
            for its discounts.
    """
    thresholds = prune_thresholds(order, prune)
    levels = count_ngrams(corpus, order, advance)
    unwanted = np.zeros(len(corpus.vocabulary), bool)
    if words is not None:
        unwanted[:] = [word not in words for word in corpus.vocabulary]
    specials = [UNKNOWN_ID, START_ID, END_ID]
    unwanted[specials] = False

    adjusted = _adjusted_counts(levels)
    last = _last_ngrams(levels)
    probs = gammas = None
    kept: list[np.ndarray] = []
    results: list[tuple[np.ndarray, np.ndarray]] = []
    for n, (level, counts, threshold) in enumerate(zip(levels, adjusted, thresholds, strict=True), 1):
        histogram = np.bincount(np.minimum(counts, 5), minlength=6)
        if n <= len(last):
            # lmplz looks at the last n-gram of each lower order with its plain count.
            histogram[min(counts[last[n - 1]], 5)] -= 1
            histogram[min(level.counts[last[n - 1]], 5)] += 1
        discounts = _discounts(histogram, n, discount_fallback)
        dropped = (level.counts <= threshold) | unwanted[level.words]
        if n == 1:
            dropped[specials] = False
        else:
            dropped |= ~kept[-1][level.prefixes]
        kept.append(~dropped)

        lowered = discounts[np.minimum(counts, 3)]
        contexts = 1 if n == 1 else len(levels[n - 2].words)
        total = np.maximum(np.bincount(level.prefixes, weights=counts, minlength=contexts), 1)
        gammas = np.bincount(level.prefixes, weights=np.where(dropped, counts, lowered), minlength=contexts) / total
        lower = 1 / (np.count_nonzero(kept[0]) - 1) if probs is None else probs[level.suffixes]
        probs = (counts - lowered) / total[level.prefixes] + gammas[level.prefixes] * lower
        if n == 1:
            probs[START_ID] = 1
        else:
            gammas[np.bincount(level.prefixes, minlength=contexts) == 0] = 1
            results[-1] = results[-1][0], _log10(gammas)[kept[-2]]
        results.append((_log10(probs)[kept[-1]], np.zeros(np.count_nonzero(kept[-1]), np.float32)))

    vocabulary = np.array(corpus.vocabulary, object)[kept[0]].tolist()
    renumber = [np.cumsum(keep, dtype=np.int32) - np.int32(1) for keep in kept]
    orders = []
    for n, (level, keep, (log10_probs, log10_backoffs)) in enumerate(zip(levels, kept, results, strict=True)):
        prefixes = renumber[n - 1][level.prefixes[keep]] if n else level.prefixes[keep]
        orders.append(NGrams(prefixes, renumber[0][level.words[keep]], log10_probs, log10_backoffs))
    return NGramModel(vocabulary, orders)


def prune_thresholds(order: int, prune: Sequence[int]) -> list[int]:
    """The threshold of each order; the last value goes for higher orders.

    Raises:
        UserError: as `estimate`.
    """
    if not 1 <= order <= MOST_ORDERS:
        raise UserError(f"order {order}: must be 1 to {MOST_ORDERS}")
    if not prune or len(prune) > order or list(prune) != sorted(prune) or prune[0] < 0:
        shown = " ".join(map(str, prune))
        raise UserError(f"prune {shown}: give at most {order} thresholds for this order, each at least the one before")
    return [*prune, *[prune[-1]] * (order - len(prune))]


def _adjusted_counts(levels: list[NGramCounts]) -> list[np.ndarray]:
    """The number of different words before each n-gram; its count in the highest order and behind `<s>`."""
    adjusted = []
    at_start = np.arange(len(levels[0].words)) == START_ID
    for n, level in enumerate(levels, 1):
        if n > 1:
            at_start = at_start[level.prefixes]
        counts = level.counts
        if n < len(levels):
            counts = np.where(at_start, counts, np.bincount(levels[n].suffixes, minlength=len(counts)))
        if n == 1:
            counts = counts.copy()
            counts[START_ID] = 0
        adjusted.append(counts)
    return adjusted


def _last_ngrams(levels: list[NGramCounts]) -> list[int]:
    """The last n-gram of each order but the highest, sorted from its last word to its first; not behind `<s>`."""
    last = [len(levels[0].words) - 1]
    first_words = levels[0].words
    for level in levels[1:-1]:
        first_words = first_words[level.prefixes]
        longer = np.flatnonzero(level.suffixes == last[-1])
        longest = longer[np.argmax(first_words[longer])] if len(longer) else START_ID
        if not len(longer) or first_words[longest] == START_ID:
            break
        last.append(int(longest))
    return last[: len(levels) - 1]


def _discounts(histogram: np.ndarray, n: int, fallback: bool) -> np.ndarray:
    """Discounts of n-grams with the counts 0, 1, 2 and 3 or more: equation 26 of Chen and Goodman."""
    seen = histogram[1:5].astype(np.float64)
    if (seen[:3] > 0).all():
        y = seen[0] / (seen[0] + 2 * seen[1])
        times = np.arange(1, 4)
        found = times - (times + 1) * y * seen[1:] / seen[:3]
        if ((found >= 0) & (found <= times)).all():
            return np.array([0, *found])
    if fallback:
        return np.array([0, *FALLBACK_DISCOUNTS])
    raise UserError(
        f"the text is too small or too regular for the discounts of its {n}-grams; "
        "give --discount-fallback or more text"
    )


def _log10(values: np.ndarray) -> np.ndarray:
    return np.minimum(np.log10(np.maximum(values, 1e-99)), 0).astype(np.float32)
