"""Words in the graph against the words that join_words makes."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.decoding.alignment import greedy_letters, join_words
from jasper_tf.decoding.greedy import greedy_decode
from jasper_tf.decoding.words import greedy_words, utterance_confidence, word_strings


def in_graph(labels):
    @tf.function(input_signature=[tf.TensorSpec((None, None, None)), tf.TensorSpec((None,), tf.int32)])
    def run(logits, logit_len):
        greedy = greedy_decode(logits, logit_len)
        words = greedy_words(greedy, labels)
        return greedy, words, word_strings(greedy, words, labels), utterance_confidence(greedy)

    return run


GRAPHS = {space: in_graph(labels) for space, labels in (("first", " ab"), ("last", "aé "), ("none", "abc"))}
LABELS = {"first": " ab", "last": "aé ", "none": "abc"}


@pytest.mark.parametrize("space", GRAPHS)
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(0, 14), st.data())
def test_those_of_join_words(space, seed, batch, frames, data):
    lengths = np.array(data.draw(st.lists(st.integers(0, frames), min_size=batch, max_size=batch)), np.int32)
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(batch, frames, 4)).astype(np.float32) * 2
    greedy, words, strings, confidence = GRAPHS[space](logits, lengths)
    expected = [join_words(letters) for letters in greedy_letters(greedy, LABELS[space], 1.0)]
    assert words.words_len.numpy().tolist() == [len(utterance) for utterance in expected]
    assert [s.decode() for s in strings.numpy()] == [word.text for utterance in expected for word in utterance]
    for b, utterance in enumerate(expected):
        for name, values in (
            ("start_s", words.start_frame),
            ("end_s", words.end_frame),
            ("confidence", words.confidence),
        ):
            wanted = [getattr(word, name) for word in utterance]
            np.testing.assert_array_equal(values[b], wanted + [0] * (frames - len(utterance)))
    letters = greedy_letters(greedy, LABELS[space], 1.0)
    means = [np.mean([x.confidence for x in utterance]) if utterance else 0.0 for utterance in letters]
    np.testing.assert_allclose(confidence, means, atol=1e-6)
