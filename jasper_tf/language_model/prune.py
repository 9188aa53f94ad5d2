"""Makes an n-gram model smaller by relative entropy (Stolcke 1998), as SRILM's `ngram -prune`."""

from __future__ import annotations

import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.language_model.ngram_model import NGramModel, NGrams, find_ngrams, trie_keys

_LEAST = 1e-6
"""Mass that is left to the words a context does not list; log-probabilities are rounded."""


def prune(model: NGramModel, threshold: float) -> NGramModel:
    """Leaves out each n-gram whose loss raises the perplexity by less than `threshold` (relative), longest first.

    An n-gram that a longer one begins with stays, and so do the 1-grams. The back-off weights are computed anew, so
    that the probabilities of each context sum to 1.

    Args:
        threshold: 1e-8 leaves out little, 1e-6 much.

    Raises:
        UserError: the threshold is not above 0.
    """
    if not 0 < threshold < 1:
        raise UserError(f"threshold {threshold:g}: must be between 0 and 1, such as 1e-8")
    keys = [trie_keys(level.prefixes, level.words, len(model.vocabulary)) for level in model.orders]
    kept = [np.ones(len(level), bool) for level in model.orders]
    history = _history_log_probs(model)
    longer = np.zeros(len(model.orders[-1]), bool)
    for n in range(model.order, 1, -1):
        level = model.orders[n - 1]
        log_prob = level.log10_probs.astype(np.float64) * np.log(10)
        log_lower = _log10_probs(model, keys, model.ngram_ids(n)[:, 1:]) * np.log(10)
        prob, lower = np.exp(log_prob), np.exp(log_lower)
        left, left_lower = _left(level.prefixes, prob, lower, len(model.orders[n - 2]))
        here, here_lower = left[level.prefixes], left_lower[level.prefixes]
        log_new = np.log((here + prob) / (here_lower + lower))
        change = prob * (log_lower + log_new - log_prob) + here * (log_new - np.log(here / here_lower))
        loss = np.expm1(-np.exp(history[n - 2][level.prefixes]) * change)
        kept[n - 1] = longer | (loss >= threshold)
        longer = np.zeros(len(model.orders[n - 2]), bool)
        longer[level.prefixes[kept[n - 1]]] = True
    return _renormalize(_select(model, kept))


def _history_log_probs(model: NGramModel) -> list[np.ndarray]:
    """ln p of the words of each n-gram from its first on; `<s>` counts as certain, whatever the file says."""
    found: list[np.ndarray] = []
    for level in model.orders:
        log_probs = level.log10_probs.astype(np.float64) * np.log(10)
        if not found:
            log_probs[model.vocabulary.index("<s>")] = 0
        found.append(log_probs + (found[-1][level.prefixes] if found else 0))
    return found


def _find(keys: list[np.ndarray], ids: np.ndarray, size: int) -> np.ndarray:
    """Index of each n-gram [count, n] among those of its length; -1 where it is missing."""
    at = ids[:, 0]
    for column in range(1, ids.shape[1]):
        at = find_ngrams(keys[column], at, ids[:, column], size)
    return at


def _log10_probs(model: NGramModel, keys: list[np.ndarray], ids: np.ndarray) -> np.ndarray:
    """log10 p of the last word of each n-gram [count, n] after the others, float64, back-offs applied."""
    n, size = ids.shape[1], len(model.vocabulary)
    at = _find(keys, ids, size)
    found = model.orders[n - 1].log10_probs[at].astype(np.float64)
    missing = np.flatnonzero(at < 0)
    if len(missing):
        context = _find(keys, ids[missing, :-1], size)
        backoff = np.where(context < 0, 0.0, model.orders[n - 2].log10_backoffs[context])
        found[missing] = backoff + _log10_probs(model, keys, ids[missing, 1:])
    return found


def _left(prefixes: np.ndarray, prob: np.ndarray, lower: np.ndarray, contexts: int) -> tuple[np.ndarray, np.ndarray]:
    """For each context the mass of the words it does not list, and the mass that the shorter context gives them."""
    left = 1 - np.bincount(prefixes, weights=prob, minlength=contexts)
    left_lower = 1 - np.bincount(prefixes, weights=lower, minlength=contexts)
    return np.maximum(left, _LEAST), np.maximum(left_lower, _LEAST)


def _select(model: NGramModel, kept: list[np.ndarray]) -> NGramModel:
    orders: list[NGrams] = []
    renumber = np.zeros(1, np.int32)
    for level, keep in zip(model.orders, kept, strict=True):
        prefixes = renumber[level.prefixes[keep]] if orders else level.prefixes[keep]
        orders.append(NGrams(prefixes, level.words[keep], level.log10_probs[keep], level.log10_backoffs[keep]))
        renumber = np.cumsum(keep, dtype=np.int32) - np.int32(1)
    return NGramModel(model.vocabulary, orders)


def _renormalize(model: NGramModel) -> NGramModel:
    """Computes the back-off weights from the probabilities, shorter contexts first."""
    keys = [trie_keys(level.prefixes, level.words, len(model.vocabulary)) for level in model.orders]
    for n in range(2, model.order + 1):
        level, contexts = model.orders[n - 1], model.orders[n - 2]
        lower = 10 ** _log10_probs(model, keys, model.ngram_ids(n)[:, 1:])
        left, left_lower = _left(level.prefixes, 10 ** level.log10_probs.astype(np.float64), lower, len(contexts))
        used = np.bincount(level.prefixes, minlength=len(contexts)) > 0
        contexts.log10_backoffs[:] = np.where(used, np.log10(left / left_lower), 0)
    return model
