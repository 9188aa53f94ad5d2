"""Words in the graph against the words that join_words makes."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.decoding.alignment import join_words, time_labels
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.decoding.words import group_words, utterance_confidence, word_strings
from jasper_tf.text.tokenizer import CharacterTokenizer, Tokenizer


class WordPieces(CharacterTokenizer):
    """Labels of more than one character, one of which starts a word."""

    def __init__(self, pieces):
        Tokenizer.__init__(self, pieces)


def in_graph(tokenizer):
    @tf.function(input_signature=[tf.TensorSpec((None, None, None)), tf.TensorSpec((None,), tf.int32)])
    def run(logits, logit_len):
        best = GreedyDecoder()(logits, logit_len).best()
        words = group_words(best, tokenizer)
        return best, words, word_strings(best, words, tokenizer), utterance_confidence(best)

    return run


TOKENIZERS = {
    "first": CharacterTokenizer(" ab"),
    "last": CharacterTokenizer("aé "),
    "none": CharacterTokenizer("abc"),
    "in pieces": WordPieces([" a", "b", " "]),
    "a piece that writes nothing": WordPieces([" a", "b", ""]),
    "a piece with a space behind it": WordPieces([" a ", "b", ""]),
}
GRAPHS = {space: in_graph(tokenizer) for space, tokenizer in TOKENIZERS.items()}


@pytest.mark.parametrize("space", GRAPHS)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 14), st.data())
def test_those_of_join_words(space, seed, batch, frames, data):
    lengths = np.array(data.draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch)), np.int32)
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(batch, frames, 4)).astype(np.float32) * 2
    best, words, strings, confidence = GRAPHS[space](logits, lengths)
    expected = [join_words(letters) for letters in time_labels(best, TOKENIZERS[space], 1.0)]
    assert words.words_len.numpy().tolist() == [len(utterance) for utterance in expected]
    assert [s.decode() for s in strings.numpy()] == [word.text for utterance in expected for word in utterance]
    texts = [TOKENIZERS[space].decode(x for x in row if x >= 0) for row in best.labels.numpy()]
    assert [[word.text for word in utterance] for utterance in expected] == [text.split() for text in texts]
    for b, utterance in enumerate(expected):
        for name, values in (
            ("start_s", words.start_frame),
            ("end_s", words.end_frame),
            ("confidence", words.confidence),
        ):
            wanted = [getattr(word, name) for word in utterance]
            np.testing.assert_array_equal(values[b], wanted + [0] * (frames - len(utterance)))
    letters = time_labels(best, TOKENIZERS[space], 1.0)
    means = [np.mean([x.confidence for x in utterance]) if utterance else 0.0 for utterance in letters]
    np.testing.assert_allclose(confidence, means, atol=1e-6)
