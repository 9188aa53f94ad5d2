"""Times of letters and words."""

import numpy as np
import pytest

from jasper_tf.decoding.alignment import WordTiming, join_words, time_labels
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.text.tokenizer import CharacterTokenizer

LABELS = list(" ab")
TOKENIZER = CharacterTokenizer(LABELS)


def log_probs_of(path, sharpness=6.0):
    logits = sharpness * np.eye(4)[[{"-": 3}.get(c, LABELS.index(c) if c in LABELS else 3) for c in path]]
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


def test_words_of_greedy_labels():
    log_probs = log_probs_of("-aab- -b-b ")
    best = GreedyDecoder()(np.stack([log_probs, log_probs]), np.array([11, 3])).best()
    first, cut = time_labels(best, TOKENIZER, 0.02)
    assert [(x.text, x.start_s, x.end_s) for x in join_words(first)] == [
        ("ab", pytest.approx(0.02), pytest.approx(0.08)),
        ("bb", pytest.approx(0.14), pytest.approx(0.20)),
    ]
    assert [(x.text, x.end_s) for x in cut] == [("a", pytest.approx(0.06))]
    assert first[0].confidence == pytest.approx(np.exp(log_probs.max()), abs=1e-5)


def test_a_word_is_as_certain_as_its_least_certain_letter():
    letters = [WordTiming(" ", 0, 1, 0.1), WordTiming("a", 1, 2, 0.9), WordTiming("b", 2, 3, 0.5)]
    assert join_words(letters) == [WordTiming("ab", 1, 3, 0.5)]
    assert join_words([]) == join_words(letters[:1]) == []


def test_a_piece_with_a_space_before_it_starts_a_word():
    pieces = [
        WordTiming(" ab", 0, 1, 0.9),
        WordTiming("c", 1, 2, 0.5),
        WordTiming(" ", 2, 3, 0.1),
        WordTiming("d", 3, 4, 0.7),
    ]
    assert join_words([*pieces, WordTiming(" e", 4, 5, 0.6)]) == [
        WordTiming("abc", 0, 2, 0.5),
        WordTiming("d", 3, 4, 0.7),
        WordTiming("e", 4, 5, 0.6),
    ]
