"""Transcripts of a model's outputs, and their JSON."""

import numpy as np
import pytest

from jasper_tf.inference.transcript import ScoredText, read_outputs


def test_n_best():
    outputs = {
        "text": np.array([b"a b", "é".encode()], object),
        "n_best_text": np.array([[b"a b", b"a", b""], ["é".encode(), b"", b""]], object),
        "n_best_score": np.array([[-1.25, -2.0, -9.5], [-0.123456, -1e30, -np.inf]], np.float32),
    }
    first, second = read_outputs(outputs)
    assert first.n_best == (ScoredText("a b", -1.25), ScoredText("a", -2.0), ScoredText("", -9.5))
    assert [one.text for one in second.n_best] == ["é"]  # a beam that had fewer
    assert second.as_json() == {"text": "é", "n_best": [{"text": "é", "score": -0.1235}]}
    del outputs["n_best_text"]
    assert [one.n_best for one in read_outputs(outputs)] == [None, None]
    assert "n_best" not in read_outputs(outputs)[0].as_json()


def test_n_best_of_another_number_of_rows():
    outputs = {"text": [b"a", b"b"], "n_best_text": [[b"a"]], "n_best_score": [[-1.0]]}
    with pytest.raises(ValueError):
        read_outputs(outputs)
