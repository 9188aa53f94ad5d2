"""The tables give the scores of KenLM, and of a plain back-off recursion over the lines of the ARPA file."""

import gzip
import json
import math

import numpy as np
import pytest

from jasper_tf.language_model.arpa import read_arpa
from jasper_tf.language_model.ngram_tables import NGramTables, advance

MODELS = [
    "tiny_3gram",
    pytest.param("char_6gram", marks=pytest.mark.medium),
    pytest.param("word_3gram", marks=pytest.mark.slow),
    pytest.param("word_4gram", marks=pytest.mark.slow),
]


def read_lines(path, used=None) -> dict[tuple[str, ...], tuple[float, float]]:
    """log10 p and back-off of each n-gram, a line at a time; only n-grams of the words `used`, if they are given."""
    found = {}
    with gzip.open(path, "rt") as file:
        for line in file:
            log10_prob, _, rest = line.rstrip("\n").partition("\t")
            text, _, backoff = rest.partition("\t")
            words = text.split(" ")
            if text and (used is None or used.issuperset(words)):
                found[tuple(words)] = float(log10_prob), float(backoff or 0)
    return found


def reference(ngrams, history: tuple[str, ...], word: str) -> tuple[float, int]:
    """log10 p(word | history) in float64 and the length of the n-gram that matched."""
    if found := ngrams.get((*history, word)):
        return found[0], len(history) + 1
    log10_prob, length = reference(ngrams, history[1:], word)
    return log10_prob + ngrams.get(history, (0.0, 0.0))[1], length


@pytest.mark.parametrize("name", MODELS)
def test_every_token_scores_as_with_kenlm(shared, name):
    path = shared / "decoding" / "lm" / f"{name}.arpa.gz"
    tables = NGramTables.from_model(read_arpa(path))
    ids = {word: at for at, word in enumerate(tables.vocabulary)}
    sentences = json.loads((shared / "decoding" / "golden" / "lm_scores.json").read_text())[name]
    assert len(sentences) == 25
    used = {token for sentence in sentences for token, *_ in sentence["tokens"]}
    ngrams = read_lines(path, used | {"<unk>", "<s>", "</s>"})
    for sentence in sentences:
        state, history = np.int32(tables.start_state), ("<s>",)
        for token, expected, length, unknown in sentence["tokens"]:
            word = token if token in ids else "<unk>"
            assert (word == "<unk>") == unknown
            context = history[-(tables.order - 1) :]
            assert reference(ngrams, context, word) == (pytest.approx(expected, abs=1e-5), length)
            log_prob, after = tables.advance(state, np.int32(ids[word]))
            assert log_prob / math.log(10) == pytest.approx(expected, abs=1e-5)
            if token == "</s>":
                assert tables.final_log_probs[state] == log_prob
            state, history = after, (*history, word)


def test_random_histories_score_as_the_recursion(shared):
    path = shared / "decoding" / "lm" / "tiny_3gram.arpa.gz"
    tables, ngrams = NGramTables.from_model(read_arpa(path)), read_lines(path)
    rng = np.random.default_rng(0)
    trigrams = [words for words in ngrams if len(words) == 3]
    texts = [trigrams[at] for at in rng.integers(0, len(trigrams), 300)]
    texts += [tuple(tables.vocabulary[at] for at in row) for row in rng.integers(3, len(tables.vocabulary), (300, 3))]
    ids = {word: at for at, word in enumerate(tables.vocabulary)}
    words = np.array([[ids[word] for word in text] for text in texts], np.int32)
    states = np.zeros(len(texts), np.int32)
    for column in range(3):
        log_probs, states = tables.advance(states, words[:, column])
        expected = [reference(ngrams, text[:column], text[column])[0] for text in texts]
        np.testing.assert_allclose(log_probs / math.log(10), expected, atol=1e-5)


def test_states_that_nothing_can_tell_apart_are_one_state(tmp_path):
    path = tmp_path / "lm.arpa"
    path.write_text(
        "\\data\\\nngram 1=5\nngram 2=3\nngram 3=1\n\n\\1-grams:\n-1\t<unk>\t0\n0\t<s>\t-0.3\n-0.7\t</s>\t0\n"
        "-0.5\ta\t-0.2\n-0.6\tb\t0\n\n\\2-grams:\n-0.1\t<s> a\t0\n-0.2\ta b\t0\n-0.3\ta a\t-0.1\n\n"
        "\\3-grams:\n-0.05\t<s> a b\n\n\\end\\\n"
    )
    tables = NGramTables.from_model(read_arpa(path))
    ids = {word: at for at, word in enumerate(tables.vocabulary)}
    # empty, <s>, a, "<s> a", "a a"; b and "a b" have no back-off weight and nothing follows them.
    assert len(tables.places) == 5
    assert tables.history_lens.tolist() == [0, 1, 1, 2, 2]
    a = tables.advance(np.int32(0), np.int32(ids["a"]))[1]
    assert tables.advance(a, np.int32(ids["b"]))[1] == 0
    assert tables.final_log_probs[tables.start_state] == pytest.approx((-0.3 - 0.7) * math.log(10))


@pytest.mark.parametrize("ops", [pytest.param("keras.ops", marks=pytest.mark.medium), "jax.numpy"])
def test_the_lookup_is_the_same_in_other_array_libraries(shared, ops):
    library = pytest.importorskip(ops, reason=f"{ops} is not installed")
    tables = NGramTables.from_model(read_arpa(shared / "decoding" / "lm" / "tiny_3gram.arpa.gz"))
    rng = np.random.default_rng(1)
    states = rng.integers(0, len(tables.places), (4, 16)).astype(np.int32)
    words = rng.integers(0, len(tables.vocabulary), (4, 16)).astype(np.int32)
    arrays = {name: library.array(value) for name, value in tables.arrays.items()}
    found = advance(
        arrays, library.array(states), library.array(words), library, lambda x, at: library.take(x, at, axis=0)
    )
    for here, there in zip(tables.advance(states, words), found, strict=True):
        np.testing.assert_array_equal(here, there)
