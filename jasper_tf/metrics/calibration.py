"""Calibration: whether words of confidence 0.9 are right nine times out of ten."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

BINS = 10


@dataclass(frozen=True)
class Calibration:
    """Words by confidence, in bins of equal width from 0 to 1.

    Attributes:
        count: [bins] int64, words in each bin.
        accuracy: [bins] float64, the share of them that is right; NaN without words.
        confidence: [bins] float64, their mean confidence; NaN without words.
    """

    count: np.ndarray
    accuracy: np.ndarray
    confidence: np.ndarray

    @property
    def error(self) -> float:
        """The expected calibration error: the mean of |accuracy - confidence| over all words (Guo et al. 2017, ECE).

        0 is best; NaN without words.
        """
        words = self.count.sum()
        if not words:
            return float("nan")
        return float(np.nansum(self.count * np.abs(self.accuracy - self.confidence)) / words)

    def as_json(self) -> dict[str, Any]:
        """Values for JSON; null where there are no words."""

        def plain(values: np.ndarray) -> list[float | None]:
            return [None if np.isnan(value) else round(float(value), 6) for value in values]

        return {
            "ece": None if np.isnan(self.error) else round(self.error, 6),
            "words": self.count.tolist(),
            "accuracy": plain(self.accuracy),
            "confidence": plain(self.confidence),
        }


def measure_calibration(confidence: Sequence[float], correct: Sequence[bool], bins: int = BINS) -> Calibration:
    """Sorts words into bins by their confidence.

    Args:
        confidence: of each word that was recognized, 0 to 1; a bin holds its lower edge, the last one 1 too.
        correct: whether the reference has that word there, in the alignment with the fewest edits. Words that were not
            recognized have no confidence and no part in this.
        bins: their number.
    """
    certain, right = np.asarray(confidence, np.float64), np.asarray(correct, np.float64)
    number = np.minimum((certain * bins).astype(np.int64), bins - 1)
    count = np.bincount(number, minlength=bins)
    with np.errstate(invalid="ignore"):
        accuracy = np.bincount(number, right, bins) / count
        mean = np.bincount(number, certain, bins) / count
    return Calibration(count, accuracy, mean)
