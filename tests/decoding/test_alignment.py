"""Times of letters and words: greedy, and forced alignment against every path there is."""

from itertools import groupby, product

import numpy as np
import pytest

from jasper_tf.decoding.alignment import WordTiming, force_align, join_words, time_labels
from jasper_tf.decoding.greedy import GreedyDecoder
from jasper_tf.errors import UserError
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


def test_greedy_path_is_the_forced_path_of_its_own_text():
    log_probs = log_probs_of("-aab- -b-b ")
    [greedy] = time_labels(GreedyDecoder()(log_probs[None], np.array([11])).best(), TOKENIZER, 0.02)
    forced = force_align(log_probs, "ab bb ", TOKENIZER, 0.02)
    assert [(x.text, x.start_s, x.end_s) for x in greedy] == [(x.text, x.start_s, x.end_s) for x in forced]


@pytest.mark.parametrize("text", ["a", "ab", "aa", "a b", "bab"])
def test_forced_path_is_the_best_of_all(text):
    frames = 6
    for seed in range(5):
        log_probs = np.log(np.random.default_rng(seed).dirichlet(np.ones(4), frames))
        spelling = [
            path
            for path in product(range(4), repeat=frames)
            if "".join(LABELS[c] for c, _ in groupby(path) if c != 3) == text
        ]
        best = max(spelling, key=lambda path: sum(log_probs[range(frames), path]))
        expected, t = [], 0
        for c, run in groupby(best):
            n = len(list(run))
            if c != 3:
                expected.append((LABELS[c], t, t + n, np.exp(log_probs[t : t + n, c]).mean()))
            t += n
        got = [(x.text, x.start_s, x.end_s, x.confidence) for x in force_align(log_probs, text, TOKENIZER, 1.0)]
        assert [g[:3] for g in got] == [e[:3] for e in expected]
        np.testing.assert_allclose([g[3] for g in got], [e[3] for e in expected])


def test_nothing_to_align():
    assert force_align(log_probs_of("--"), "", TOKENIZER, 0.02) == []
    assert force_align(np.zeros((0, 4)), "", TOKENIZER, 0.02) == []


def test_too_few_frames():
    with pytest.raises(UserError, match="needs 3 frames, the sound has 2"):
        force_align(log_probs_of("aa"), "aa", TOKENIZER, 0.02)


def test_unknown_character():
    with pytest.raises(UserError, match="not among the labels: 'z'"):
        force_align(log_probs_of("aa"), "az", TOKENIZER, 0.02)
