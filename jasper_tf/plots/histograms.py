"""Histograms of the durations and speaking rates of a corpus."""

from __future__ import annotations

from typing import IO

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

from jasper_tf.data.checks.speaking_rate import RateBounds

_MOST_BINS = 60


@rc_context({"font.size": 13.0})  # legible at 500 pixels too
def draw_histograms(file: IO[bytes], duration_s: np.ndarray, rates: np.ndarray, bounds: RateBounds) -> None:
    """Writes a PNG of 720 x 640 pixels: utterances by duration, and by characters per second with the bounds.

    Args:
        file: open for bytes.
        duration_s: seconds of each utterance.
        rates: characters per second of each utterance.
        bounds: drawn as lines.
    """
    figure = Figure(figsize=(7.2, 6.4), dpi=100, layout="constrained")
    by_duration, by_rate = figure.subplots(2, 1)
    by_duration.hist(duration_s, bins=_edges(duration_s.max(initial=0.0)), color="tab:blue")
    hours = float(duration_s.sum()) / 3600
    by_duration.set(
        xlabel="seconds", ylabel="utterances", title=f"duration: {len(duration_s)} utterances, {hours:.2f} h"
    )

    # One wrong text must not flatten the rest: the title counts utterances out of range.
    right = 1.2 * bounds.high if bounds.high is not None else float(rates.max(initial=1.0))
    by_rate.hist(rates, bins=_edges(right), color="tab:blue")
    for bound in (bounds.low, bounds.high):
        if bound is not None:
            by_rate.axvline(bound, color="tab:red", linewidth=1)
    low, high = (-np.inf if bounds.low is None else bounds.low), (np.inf if bounds.high is None else bounds.high)
    outside = f"{(rates < low).sum()} slower, {(rates > high).sum()} faster"
    title = f"speaking rate: median {bounds.median:.3g}; {outside}"
    by_rate.set(xlabel="characters per second", ylabel="utterances", xlim=(0, right), title=title)
    figure.savefig(file, format="png")


def _edges(right: float) -> np.ndarray:
    """Returns bin edges from 0 to `right`, with a width of 1, 2 or 5 times a power of ten."""
    least = max(right, 1e-3) / _MOST_BINS
    power = 10.0 ** np.floor(np.log10(least))
    width = next(step * power for step in (1, 2, 5, 10) if step * power >= least)
    # Declared durations are often multiples of 0.1 s: shifted edges keep them inside a bin.
    return (np.arange(int(right / width) + 2) - 0.05) * width
