"""Finds utterances whose speaking rate is far outside that of the corpus."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.faults import FaultLog

FEWEST = 50
"""With fewer utterances no bounds are derived: their quartiles say too little."""


@dataclass(frozen=True)
class RateBounds:
    """The accepted characters per second; `None` is no bound. `median` is the corpus's."""

    low: float | None
    high: float | None
    median: float


def speaking_rates(manifest: CheckedManifest) -> np.ndarray:
    """[utterances] characters per second of declared duration."""
    return np.array(manifest.characters) / np.array(manifest.duration_s)


def rate_bounds(rates: np.ndarray, low: float | None = None, high: float | None = None) -> RateBounds:
    """Bounds for the speaking rates of a corpus, from its quartiles, which a few wrong texts do not move.

    The bounds are Tukey's outer fences (Exploratory Data Analysis, 1977, section 2D): three interquartile ranges above
    the upper quartile, and below the lower one on a logarithmic scale, where a rate cannot become negative.

    Args:
        rates: [utterances] characters per second; those of empty texts do not count.
        low, high: taken as they are. Default: from the rates, when there are at least `FEWEST`.
    """
    rates = rates[rates > 0]
    if not len(rates):
        return RateBounds(low, high, 0.0)
    lower, median, upper = np.quantile(rates, [0.25, 0.5, 0.75])
    if len(rates) >= FEWEST:
        # Texts of one length would leave no room at all.
        upper, lower = max(upper, 1.05 * median), min(lower, 0.95 * median)
        low = float(lower * (lower / upper) ** 3) if low is None else low
        high = float(upper + 3 * (upper - lower)) if high is None else high
    return RateBounds(low, high, float(median))


def check_speaking_rate(manifests: Sequence[CheckedManifest], log: FaultLog, bounds: RateBounds) -> None:
    """Logs the utterances with a text that are outside the bounds."""
    for manifest in manifests:
        rates = speaking_rates(manifest)
        outside = np.zeros(len(rates), bool)
        if bounds.low is not None:
            outside |= (rates < bounds.low) & (rates > 0)
        if bounds.high is not None:
            outside |= rates > bounds.high
        for i in np.flatnonzero(outside):
            slow = bounds.low is not None and rates[i] < bounds.low
            limit = f"fewer than {bounds.low:.3g}" if slow else f"more than {bounds.high:.3g}"
            detail = (
                f"{manifest.characters[i]} characters in {manifest.duration_s[i]:g} s: {rates[i]:.3g} a second, {limit}"
            )
            log.add(manifest.path, manifest.line[i], "speaking rate", detail, manifest.duration_s[i])
