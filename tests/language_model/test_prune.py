"""Pruning against a float64 reference that computes each relative entropy over the whole vocabulary."""

import math

import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.language_model.arpa import read_arpa, write_arpa
from jasper_tf.language_model.corpus import read_corpus
from jasper_tf.language_model.kneser_ney import estimate
from jasper_tf.language_model.ngram_tables import NGramTables
from jasper_tf.language_model.prune import prune


def probability(ngrams, history, word):
    if found := ngrams.get((*history, word)):
        return 10 ** found[0]
    return 10 ** ngrams.get(history, (0, 0))[1] * probability(ngrams, history[1:], word)


def relative_rise(ngrams, vocabulary, ngram):
    """exp(KL) - 1 of a model without the n-gram, over all words of its context, weighted by the context."""
    *history, word = ngram
    history = tuple(history)
    listed = [words[-1] for words in ngrams if len(words) == len(ngram) and words[:-1] == history and words != ngram]
    kept = sum(probability(ngrams, history, other) for other in listed)
    lower = sum(probability(ngrams, history[1:], other) for other in listed)
    backoff = (1 - kept) / (1 - lower)
    divergence = 0.0
    for other in vocabulary:
        if other != "<s>" and other not in listed:
            before = probability(ngrams, history, other)
            divergence += before * math.log(before / (backoff * probability(ngrams, history[1:], other)))
    weight = math.prod(
        probability(ngrams, history[:at], history[at]) for at in range(len(history)) if history[at] != "<s>"
    )
    return math.expm1(weight * divergence)


def test_the_ngrams_that_matter_least_go(sentences, rows):
    model = estimate(read_corpus(sentences[:100]), 2)
    ngrams, threshold = rows(model), 3e-4
    left = rows(prune(model, threshold))
    bigrams = [words for words in ngrams if len(words) == 2][::5]
    rises = [relative_rise(ngrams, model.vocabulary, words) for words in bigrams]
    clear = [(words, rise) for words, rise in zip(bigrams, rises, strict=True) if abs(rise / threshold - 1) > 0.01]
    assert 20 < sum(rise < threshold for _, rise in clear) < len(clear) - 20
    for words, rise in clear:
        assert (words in left) == (rise >= threshold), (words, rise)


@pytest.mark.parametrize("threshold", [1e-5, 1e-4, 1e-2])
def test_a_pruned_model_is_a_model(tmp_path, threshold, sentences, rows):
    model = estimate(read_corpus(sentences), 3)
    smaller = prune(model, threshold)
    before, after = rows(model), rows(smaller)
    assert {words for words in before if len(words) == 1} <= after.keys() < before.keys()
    assert all(after[words][0] == before[words][0] for words in after)
    write_arpa(smaller, tmp_path / "lm.arpa")  # reading refuses an n-gram without its prefix
    tables = NGramTables.from_model(read_arpa(tmp_path / "lm.arpa"))
    words = np.array([at for at, word in enumerate(tables.vocabulary) if word != "<s>"], np.int32)
    for state in range(len(tables.places)):
        log_probs, _ = tables.advance(np.full(len(words), state, np.int32), words)
        assert np.exp(log_probs.astype(np.float64)).sum() == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("threshold", [0, -1, 1, float("nan")])
def test_wrong_thresholds(threshold, sentences):
    with pytest.raises(UserError, match="threshold"):
        prune(estimate(read_corpus(sentences), 2), threshold)
