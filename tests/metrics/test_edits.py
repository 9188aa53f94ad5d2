"""Alignments, and the confusions counted from them."""

import numpy as np
import pytest

from jasper_tf.metrics.confusions import Confusions
from jasper_tf.metrics.edits import Edit, count_edits, find_edits, format_edits
from jasper_tf.metrics.error_rate import count_errors


def test_each_kind():
    assert find_edits("turn on the big red light now", "turn of the red light now please") == [
        Edit("equal", "turn", "turn"),
        Edit("substitute", "on", "of"),
        Edit("equal", "the", "the"),
        Edit("delete", "big", ""),
        Edit("equal", "red", "red"),
        Edit("equal", "light", "light"),
        Edit("equal", "now", "now"),
        Edit("insert", "", "please"),
    ]
    assert find_edits("", "") == []
    assert find_edits("", "a b") == [Edit("insert", "", "a"), Edit("insert", "", "b")]


@pytest.mark.parametrize("unit", ["word", "character"])
def test_the_counts_are_those_of_the_error_rate(unit):
    chance = np.random.default_rng(0)
    for _ in range(100):
        texts = [" ".join(chance.choice(["a", "b", "cc", "dc"], size=chance.integers(0, 9))) for _ in range(2)]
        assert count_edits(find_edits(*texts, unit)) == count_errors(texts[:1], texts[1:], unit)


def test_confusions():
    confusions = Confusions()
    for reference, hypothesis in (("go on", "go off"), ("on", "off"), ("on", "of"), ("a b", "b"), ("x", "x y y")):
        confusions.add(find_edits(reference, hypothesis))
    found = confusions.as_json(most=1)
    assert found["substitutions"] == [{"reference": "on", "hypothesis": "off", "count": 2}]
    assert found["deletions"] == [{"reference": "a", "count": 1}]
    assert found["insertions"] == [{"hypothesis": "y", "count": 2}]


def test_words_stand_below_each_other():
    edits = find_edits("turn on the big red light", "turn off the red light please")
    assert format_edits(edits, 80) == [("turn on  the big red light ******", "turn off the *** red light please")]
    assert format_edits(edits, 12) == [
        ("turn on  the", "turn off the"),
        ("big red", "*** red"),
        ("light ******", "light please"),
    ]
    # Characters of two columns.
    assert format_edits([Edit("substitute", "日本", "a"), Edit("equal", "b", "b")], 80) == [("日本 b", "a    b")]
    assert format_edits([], 80) == []
