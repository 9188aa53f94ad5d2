"""Error rates against NeMo's and jiwer's numbers."""

import json
from pathlib import Path

import jiwer
import pytest
from hypothesis import given
from hypothesis import strategies as st

from jasper_tf.metrics.error_rate import ErrorCounts, count_errors, wer

GOLDEN = Path(__file__).parent.parent / "golden"
words = st.lists(st.sampled_from(["a", "b", "ab", "c's"]), max_size=6).map(" ".join)
pairs = st.lists(st.tuples(words, words), min_size=1, max_size=6)


def test_rates_are_those_of_nemo():
    golden = json.loads((GOLDEN / "decoder_ctc.json").read_text())["wer"]
    assert wer(golden["ref"], golden["hyp"]) == golden["wer"]
    assert count_errors(golden["ref"], golden["hyp"], "character").rate == golden["cer"]
    counts = count_errors(golden["ref"], golden["hyp"])
    rates = [n / counts.reference for n in (counts.insertions, counts.deletions, counts.substitutions)]
    assert [counts.rate, counts.reference, *rates] == golden["detail"]


@given(pairs)
def test_rates_are_those_of_jiwer(texts):
    references, hypotheses = zip(*texts, strict=True)
    assert wer(references, hypotheses) == pytest.approx(jiwer.wer(list(references), list(hypotheses)))
    characters = count_errors(references, hypotheses, "character").rate
    assert characters == pytest.approx(jiwer.cer(list(references), list(hypotheses)))


@given(pairs, st.sampled_from(["word", "character"]))
def test_counts_add_up(texts, unit):
    references, hypotheses = zip(*texts, strict=True)
    one_by_one = sum((count_errors([r], [h], unit) for r, h in texts), start=ErrorCounts())
    assert one_by_one == count_errors(references, hypotheses, unit)


def test_text_counts_as_it_is():
    assert wer(["a  b "], [" a b"]) == 0.0
    assert count_errors(["a  b "], ["a b"], "character").rate == pytest.approx(2 / 5)
    assert wer(["A"], ["a"]) == 1.0


def test_empty_references():
    assert count_errors([""], ["a b"]) == ErrorCounts(insertions=2, utterances=1)
    assert count_errors([""], ["a b"]).rate == 2.0
    assert wer(["", "a b"], ["x", "a b"]) == 0.5
    assert wer([""], [""]) == wer([], []) == 0.0


def test_unequal_numbers_of_texts():
    with pytest.raises(ValueError, match="2 references, but 1"):
        wer(["a", "b"], ["a"])
