"""Heat map of the word error rate over the weights of a language model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import IO, Any

import numpy as np
from matplotlib import rc_context
from matplotlib.figure import Figure

_POINTS = 240
"""Along each axis."""
_COLORS = "viridis_r"


@rc_context({"font.size": 13.0})  # legible at 500 pixels too
def draw_weight_grid(
    file: IO[bytes], alphas: Sequence[float], betas: Sequence[float], rates: Sequence[float], title: str = ""
) -> None:
    """Writes a PNG of 800 x 640 pixels: each place has the color of the nearest pair that was tried.

    Args:
        file: open for bytes.
        alphas, betas: weights of the N pairs, the best first.
        rates: their word error rates [N], 1 for 100 %.
        title: above the picture.
    """
    x, y, rate = (np.asarray(values, np.float64) for values in (alphas, betas, rates))
    figure = Figure(figsize=(8, 6.4), dpi=100, layout="constrained")
    axes = figure.add_subplot()
    (left, right), (low, high) = _limits(x), _limits(y)
    columns, rows = np.linspace(left, right, _POINTS), np.linspace(low, high, _POINTS)
    across = ((columns[:, None] - x) / (right - left)) ** 2
    upward = ((rows[:, None] - y) / (high - low)) ** 2
    nearest = np.argmin(upward[:, None] + across[None], axis=2)
    extent = (left, right, low, high)
    picture = axes.imshow(100 * rate[nearest], extent=extent, origin="lower", aspect="auto", cmap=_COLORS)
    figure.colorbar(picture, ax=axes, label="word error rate, %")
    box: dict[str, Any] = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "none", "alpha": 0.75}
    for at in range(len(x)):
        axes.text(x[at], y[at], f"{100 * rate[at]:.2f}", ha="center", va="center", fontsize=9.0, bbox=box)
    axes.plot(x[0], y[0], "o", markersize=34, markerfacecolor="none", markeredgecolor="tab:red", markeredgewidth=3)
    axes.set(xlabel="alpha: weight of the language model", ylabel="beta: gain of each word or label", title=title)
    axes.set(xlim=(left, right), ylim=(low, high))
    figure.savefig(file, format="png")


def _limits(values: np.ndarray) -> tuple[float, float]:
    """Around all values, so that those at the edges have an area too."""
    low, high = float(values.min()), float(values.max())
    margin = 0.1 * (high - low) or 0.5
    return low - margin, high + margin
