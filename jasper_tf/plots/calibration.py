"""Reliability diagram: accuracy over confidence."""

from __future__ import annotations

from typing import IO

import numpy as np
from matplotlib.figure import Figure

from jasper_tf.metrics.calibration import Calibration


def draw_reliability(file: IO[bytes], calibration: Calibration, title: str = "") -> None:
    """Writes a PNG of 600 x 600 pixels: the accuracy of each bin beside its confidence, and the words in it.

    Args:
        file: open for bytes.
        calibration: of the words.
        title: above the picture; the error is added.
    """
    figure = Figure(figsize=(6, 6), dpi=100, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    edges = np.linspace(0, 1, len(calibration.count) + 1)
    upper.bar(edges[:-1], np.nan_to_num(calibration.accuracy), np.diff(edges), align="edge", edgecolor="white")
    upper.plot([0, 1], [0, 1], color="0.4", linestyle="--", linewidth=1, label="calibrated")
    upper.plot(calibration.confidence, calibration.accuracy, "o", color="tab:red", label="mean confidence of a bin")
    upper.legend(loc="upper left")
    parts = [*([title] if title else []), f"expected calibration error {calibration.error:.1%}"]
    upper.set(ylabel="words that are right", xlim=(0, 1), ylim=(0, 1), title=": ".join(parts))
    lower.bar(edges[:-1], calibration.count, np.diff(edges), align="edge", color="0.6", edgecolor="white")
    lower.set(xlabel="confidence", ylabel="words")
    figure.savefig(file, format="png")
