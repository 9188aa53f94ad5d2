"""Perplexity against KenLM's `query -v summary` and a sum over single words."""

import math

import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.language_model.arpa import read_arpa, write_arpa
from jasper_tf.language_model.corpus import read_corpus
from jasper_tf.language_model.kneser_ney import estimate
from jasper_tf.language_model.ngram_tables import NGramTables
from jasper_tf.language_model.perplexity import perplexity, perplexity_with_kenlm, unit_of


def test_perplexity_is_kenlms(shared, sentences, rows):
    tables = NGramTables.from_model(read_arpa(shared / "decoding" / "lm" / "tiny_3gram.arpa.gz"))
    lines = [
        ("f:1", b"the zzxqv said the"),
        ("f:2", b""),
        ("f:3", b"it was the best of times it was the worst of times"),
    ]
    found = perplexity(tables, lines)
    # lm_scores.json: log10 p of these sentences, token by token.
    import json

    scores = json.loads((shared / "decoding" / "golden" / "lm_scores.json").read_text())["tiny_3gram"]
    rows = [row for text in scores if text["text"].encode() in [line for _, line in lines] for row in text["tokens"]]
    total, unknown = sum(row[1] for row in rows), [row[1] for row in rows if row[3]]
    assert (found.sentences, found.tokens, found.unknown) == (3, len(rows), len(unknown))
    assert found.with_unknown == pytest.approx(10 ** (-total / len(rows)), rel=1e-5)
    without = 10 ** (-(total - sum(unknown)) / (len(rows) - len(unknown)))
    assert found.without_unknown == pytest.approx(without, rel=1e-5)


def test_batches_do_not_matter(monkeypatch, sentences):
    tables = NGramTables.from_model(estimate(read_corpus(sentences), 3))
    expected = perplexity(tables, sentences)
    monkeypatch.setattr("jasper_tf.language_model.perplexity._SENTENCES", 7)
    found = perplexity(tables, sentences)
    assert found.tokens == expected.tokens == sum(len(line.split()) + 1 for _, line in sentences)
    assert found.log10_prob == pytest.approx(expected.log10_prob, rel=1e-9)


def test_a_model_over_characters_scores_characters(sentences):
    tables = NGramTables.from_model(estimate(read_corpus(sentences, "label"), 3, discount_fallback=True))
    assert unit_of(tables) == "label"
    found = perplexity(tables, [("f:1", b" w1  w2 ")], unit_of(tables))
    ids = [tables.vocabulary.index(character) for character in "w1|w2"]
    state, total = np.int32(tables.start_state), 0.0
    for word in ids:
        log_prob, state = tables.advance(state, np.int32(word))
        total += float(log_prob)
    assert found.log10_prob == pytest.approx((total + tables.final_log_probs[state]) / math.log(10))
    assert found.tokens == 6


@pytest.mark.parametrize("unit", ["word", "label"])
def test_kenlm_itself_finds_the_same(tmp_path, sentences, unit):
    pytest.importorskip("kenlm", reason="compared with KenLM itself")
    model = estimate(read_corpus(sentences[:200], unit), 3, discount_fallback=True)
    write_arpa(model, tmp_path / "lm.arpa")
    ours = perplexity(NGramTables.from_model(model), [*sentences, ("f:1", b"")], unit)
    theirs = perplexity_with_kenlm(tmp_path / "lm.arpa", [*sentences, ("f:1", b"")], unit)
    assert (ours.sentences, ours.tokens, ours.unknown) == (theirs.sentences, theirs.tokens, theirs.unknown)
    assert ours.with_unknown == pytest.approx(theirs.with_unknown, rel=1e-5)
    assert ours.without_unknown == pytest.approx(theirs.without_unknown, rel=1e-5)


def test_nothing_to_score(sentences):
    tables = NGramTables.from_model(estimate(read_corpus(sentences), 2))
    with pytest.raises(UserError, match="empty"):
        perplexity(tables, [])
