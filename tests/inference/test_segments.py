"""Segments of a transcript: no word is lost, none is there twice, and they do not overlap."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.errors import UserError
from jasper_tf.inference.segments import Segmentation, segment_words


@st.composite
def spoken(draw):
    """Words in the order of their starts; where pieces were joined, one may begin before the last one ends."""
    words, start_s = [], draw(st.floats(0.0, 5.0))
    for text in draw(st.lists(st.text("abc", min_size=1, max_size=6), max_size=40)):
        lasts_s = draw(st.floats(0.02, 1.0))
        words.append(WordTiming(text, start_s, start_s + lasts_s, draw(st.floats(0, 1))))
        start_s += draw(st.floats(0.5, 1.0)) * lasts_s + draw(st.sampled_from([0.0, 0.1, 0.4, 1.0, 7.0]))
    return words


@given(spoken(), st.sampled_from([0.2, 0.5, 3.0]), st.sampled_from([0.5, 2.0, 15.0]))
def test_every_word_once_and_no_overlap(words, pause_s, longest_s):
    segments = segment_words(words, Segmentation(pause_s, longest_s))
    assert " ".join(segment.text for segment in segments).split() == [word.text for word in words]
    times = [time for segment in segments for time in (segment.start_s, segment.end_s)]
    assert times == sorted(times)
    at = 0
    for segment in segments:
        held = words[at : at + len(segment.text.split())]
        at += len(held)
        assert len(held) == 1 or segment.end_s - segment.start_s <= longest_s
        assert all(after.start_s - before.end_s < pause_s for before, after in zip(held, held[1:], strict=False))
        spread = [word.confidence for word in held]
        assert min(spread) - 1e-9 <= segment.confidence <= max(spread) + 1e-9
        if at < len(words) and words[at].start_s - held[-1].end_s < pause_s:
            # Cut for want of room.
            assert max(word.end_s for word in words[at:]) - held[0].start_s > longest_s


def said(*times):
    return [WordTiming("ab", start_s, end_s, 0.5) for start_s, end_s in times]


def test_a_long_speech_is_cut_at_its_longest_gap():
    words = said((0.0, 0.9), (1.0, 1.9), (2.0, 2.7), (3.0, 3.9), (4.0, 4.9), (5.0, 5.9))
    found = segment_words(words, Segmentation(longest_s=5.0))
    assert [(one.start_s, one.end_s) for one in found] == [(0.0, 2.7), (3.0, 5.9)]
    assert len(segment_words(words)) == 1 and segment_words([]) == ()


def test_many_words_take_no_quadratic_time():
    """A server may answer anything: a slow path of 300 000 words would take hours."""
    words = [WordTiming("a", 0.0, 0.0, 1.0)] * 300_000
    assert len(segment_words(words)) == 1


def test_confidence_is_weighted_by_length():
    words = [WordTiming("a", 0.0, 0.1, 0.2), WordTiming("bcd", 0.2, 0.4, 1.0)]
    assert segment_words(words)[0] == WordTiming("a bcd", 0.0, 0.4, pytest.approx(0.8))


@pytest.mark.parametrize("wrong", [{"pause_s": 0}, {"longest_s": -1}, {"pause_s": float("nan")}])
def test_wrong_rules(wrong):
    with pytest.raises(UserError, match=next(iter(wrong))):
        Segmentation(**wrong)
