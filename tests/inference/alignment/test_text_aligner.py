"""Words and labels of known texts."""

import numpy as np
import pytest

from jasper_tf.decoding.alignment import join_words, time_labels
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.errors import UserError
from jasper_tf.inference.alignment.text_aligner import TextAligner
from jasper_tf.text.tokenizer import CharacterTokenizer

LABELS = list(" ab")
TOKENIZER = CharacterTokenizer(LABELS)


def log_probs_of(path, sharpness=6.0):
    logits = sharpness * np.eye(4)[[LABELS.index(c) if c in LABELS else 3 for c in path]]
    return (logits - np.log(np.exp(logits).sum(-1, keepdims=True))).astype(np.float32)


@pytest.fixture(scope="module")
def aligner():
    return TextAligner(TOKENIZER, 0.02)


def test_the_greedy_path_is_the_forced_path_of_its_own_text(aligner):
    log_probs = log_probs_of("-aab- -b-b ")
    [greedy] = time_labels(GreedyDecoder()(log_probs[None], np.array([11])).best(), TOKENIZER, 0.02)
    [words] = aligner.align([log_probs], ["ab bb "])
    expected = join_words(greedy)
    assert [(x.text, x.start_s, x.end_s) for x in words] == [(x.text, x.start_s, x.end_s) for x in expected]
    assert [x.confidence for x in words] == pytest.approx([x.confidence for x in expected], abs=1e-5)
    labels = [label for word in words for label in word.labels]
    assert [(x.text, x.start_s) for x in labels] == [(x.text, x.start_s) for x in greedy if x.text != " "]


def test_scores_are_mean_log_posteriors(aligner):
    log_probs = log_probs_of("aab-")
    log_probs[0, 1] = -2.0
    [[word]] = aligner.align([log_probs], ["ab"])
    best = log_probs[2, 2]
    assert [label.score for label in word.labels] == pytest.approx([(best - 2) / 2, best])
    assert word.score == pytest.approx((2 * best - 2) / 3)
    assert word.confidence == pytest.approx((np.exp(best) + np.exp(-2)) / 2)


def test_texts_that_cannot_be_aligned_leave_the_others(aligner):
    sounds = [log_probs_of("-ab-"), log_probs_of("aa"), log_probs_of("a"), log_probs_of("--"), log_probs_of("")]
    good, too_long, unknown, empty, no_sound = aligner.align(sounds, ["ab", "aa", "az?", "", "a"])
    assert [(word.text, word.start_s) for word in good] == [("ab", 0.02)] and empty == []
    assert isinstance(too_long, UserError) and "3 frames" in str(too_long) and "has 2" in str(too_long)
    assert isinstance(unknown, UserError) and "'?' 'z'" in str(unknown)
    assert isinstance(no_sound, UserError)
