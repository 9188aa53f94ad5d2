"""Expected calibration error, by hand and against a plain Python twin."""

import json
import math

import numpy as np
import pytest

from jasper_tf.metrics.calibration import measure_calibration


def test_by_hand():
    # Bins of a half: three words of mean 0.3, one right; two of mean 0.9, both right.
    found = measure_calibration([0.2, 0.3, 0.4, 0.8, 1.0], [False, True, False, True, True], bins=2)
    assert found.count.tolist() == [3, 2]
    assert found.accuracy.tolist() == pytest.approx([1 / 3, 1]) and found.confidence.tolist() == pytest.approx(
        [0.3, 0.9]
    )
    assert found.error == pytest.approx((3 * (1 / 3 - 0.3) + 2 * 0.1) / 5)


def test_edges():
    assert measure_calibration([0.0, 0.1, 0.5, 1.0], [True] * 4).count.tolist() == [1, 1, 0, 0, 0, 1, 0, 0, 0, 1]


def test_twin():
    rng = np.random.default_rng(0)
    confidence = rng.random(500).astype(np.float32)
    correct = rng.random(500) < confidence**2
    total = 0.0
    for k in range(10):
        inside = [i for i, c in enumerate(confidence) if k <= min(float(c) * 10, 9.5) < k + 1]
        total += abs(sum(float(confidence[i]) - bool(correct[i]) for i in inside))
    assert measure_calibration(confidence, correct).error == pytest.approx(total / 500)
    calibrated = measure_calibration(confidence, rng.random(500) < confidence)
    assert calibrated.error < 0.06 < measure_calibration(confidence, correct).error


def test_no_words():
    found = measure_calibration([], [])
    assert math.isnan(found.error) and not found.count.any()
    assert json.loads(json.dumps(found.as_json(), allow_nan=False))["ece"] is None
