"""Models of a text: KenLM's n-grams, probabilities and back-offs; every context sums to 1."""

import json
import math
from collections import Counter

import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.language_model import count_ngrams as counting
from jasper_tf.language_model.arpa import read_arpa
from jasper_tf.language_model.corpus import read_corpus
from jasper_tf.language_model.kneser_ney import estimate
from jasper_tf.language_model.ngram_tables import NGramTables

# (order, thresholds, only words with an even number): per order the n-grams, the sums of log10 p and of the back-offs
# that KenLM's lmplz (4cb443e) gives for `sentences`.
LMPLZ = [
    (1, (0,), False, [(324, -939.6813, 0)]),
    (2, (2, 3), False, [(118, -253.9563, -4.3182), (57, -53.2903, 0)]),
    (3, (0,), False, [(324, -877.7069, -40.5511), (1238, -1828.899, -49.7153), (1596, -1640.7319, 0)]),
    (3, (0, 0, 1), False, [(324, -877.7069, -40.5511), (1238, -1828.899, -13.2643), (114, -80.1088, 0)]),
    (3, (0, 1, 2), True, [(165, -381.4667, -3.8685), (101, -113.7644, -1.6324), (18, -12.8839, 0)]),
    (
        4,
        (0, 0, 1),
        False,
        [(324, -877.7069, -40.5511), (1238, -1828.899, -9.0143), (114, -90.3009, -5.6027), (60, -36.2496, 0)],
    ),
    (
        4,
        (0,),
        True,
        [(165, -381.4667, -15.5387), (480, -676.3632, -12.5069), (463, -469.6652, -7.0535), (325, -264.1941, 0)],
    ),
]
CHARACTERS = [(15, -16.8384, -4.666), (132, -147.9668, -30.2036), (357, -291.779, -130.0644), (451, -276.6571, 0)]


def sums(model):
    found = []
    for level in model.orders:
        totals = level.log10_probs.sum(dtype=np.float64), level.log10_backoffs.sum(dtype=np.float64)
        found.append((len(level), *(pytest.approx(total, abs=1e-3) for total in totals)))
    return found


@pytest.mark.parametrize(("order", "prune", "even", "expected"), LMPLZ)
def test_pruned_models_are_those_of_lmplz(order, prune, even, expected, sentences):
    words = {f"w{number}" for number in range(0, 500, 2)} if even else None
    assert sums(estimate(read_corpus(sentences), order, prune, words)) == expected


def test_a_model_over_characters_is_that_of_lmplz(sentences):
    corpus = read_corpus(sentences, "label")
    assert "|" in corpus.vocabulary
    with pytest.raises(UserError, match="--discount-fallback"):
        estimate(corpus, 4, (0, 0, 1, 2))
    assert sums(estimate(corpus, 4, (0, 0, 1, 2), discount_fallback=True)) == CHARACTERS


def test_each_ngram_of_real_transcripts_as_lmplz(shared, rows):
    lines = (shared / "data" / "librispeech_mini" / "train_manifest.json").read_bytes().splitlines()
    model = estimate(read_corpus((str(n), json.loads(line)["text"].encode()) for n, line in enumerate(lines)), 3)
    expected = read_arpa(shared / "decoding" / "lm" / "tiny_3gram.arpa.gz")
    ours, theirs = rows(model), rows(expected)
    assert ours.keys() == theirs.keys() and len(ours) == 9652
    np.testing.assert_allclose([ours[key] for key in theirs], list(theirs.values()), atol=1e-5)


@pytest.mark.parametrize("prune", [(0,), (0, 1, 2)])
def test_the_words_after_every_history_sum_to_one(prune, sentences):
    tables = NGramTables.from_model(estimate(read_corpus(sentences), 3, prune))
    words = np.array([at for at, word in enumerate(tables.vocabulary) if word != "<s>"], np.int32)
    for state in range(0, len(tables.places), 7):
        log_probs, _ = tables.advance(np.full(len(words), state, np.int32), words)
        assert np.exp(log_probs.astype(np.float64)).sum() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("block", [5, 64, 1 << 21])
def test_counts_are_those_of_a_counter(monkeypatch, block, sentences):
    monkeypatch.setattr(counting, "_BLOCK", block)
    corpus = read_corpus(sentences[:60])
    expected = [Counter() for _ in range(3)]
    for _, line in sentences[:60]:
        words = ["<s>", *line.decode().split(), "</s>"]
        for n in range(1, 4):
            expected[n - 1].update(tuple(words[at : at + n]) for at in range(len(words) - n + 1))
    levels = counting.count_ngrams(corpus, 3)
    texts = [()]
    for n, level in enumerate(levels, 1):
        pairs = zip(level.prefixes, level.words, strict=True)
        longer = [(*texts[prefix], corpus.vocabulary[word]) for prefix, word in pairs]
        found = dict(zip(longer, level.counts.tolist(), strict=True))
        assert {words: count for words, count in found.items() if count} == expected[n - 1]
        if n > 1:
            assert all(texts[suffix] == words[1:] for suffix, words in zip(level.suffixes, longer, strict=True))
        texts = longer


def test_unknown_is_what_the_discounts_leave(tmp_path, sentences):
    model = estimate(read_corpus(sentences), 1)
    probs = 10.0 ** model.orders[0].log10_probs.astype(np.float64)
    assert probs.sum() - 1 == pytest.approx(1, abs=1e-5)  # <s> counts as certain
    assert model.vocabulary[:3] == ["<unk>", "<s>", "</s>"]
    assert probs[0] == probs.min() and math.isclose(probs[1], 1)


@pytest.mark.parametrize(
    ("lines", "order", "prune", "word"),
    [
        ([b"a b"], 0, (0,), "order"),
        ([b"a b"], 11, (0,), "order"),
        ([b"a b"], 2, (1, 0), "prune"),
        ([b"a b"], 2, (0, 0, 0), "prune"),
        ([b"a b"], 2, (-1,), "prune"),
        ([b"a b"], 2, (), "prune"),
        ([b"a b"], 2, (0,), "too small"),
        ([b" ", b""], 2, (0,), "no word"),
        ([], 2, (0,), "no word"),
        ([b"a", b"b \xe9"], 2, (0,), "text:1: is not UTF-8"),
        ([b"a", b"b </s>"], 2, (0,), "text:1: holds"),
    ],
)
def test_wrong_use(lines, order, prune, word):
    with pytest.raises(UserError, match=word):
        estimate(read_corpus((f"text:{number}", line) for number, line in enumerate(lines)), order, prune)


def test_characters_have_no_bar():
    with pytest.raises(UserError, match="f:1: holds"):
        read_corpus([("f:1", b"a|b")], "label")


def test_a_text_shorter_than_the_order_with_the_fallback():
    model = estimate(read_corpus([("f:1", b"a b")]), 6, discount_fallback=True)
    assert [len(level) for level in model.orders] == [5, 3, 2, 1, 0, 0]
