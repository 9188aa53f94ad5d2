"""Plots of spectrograms and CTC posteriors, for TensorBoard and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.text.tokenizer import Tokenizer

_DPI = 100
_LABEL = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}


def spectrogram_picture(
    features: np.ndarray, frame_s: float, title: str = "", size: tuple[int, int] = (1000, 320)
) -> np.ndarray:
    """Plots features over time, low channels at the bottom.

    Args:
        features: [T,F] of one utterance, cut to its length. Masked stretches show as flat bands.
        frame_s: seconds of one feature frame.
        title: above the picture.
        size: width and height in pixels.

    Returns:
        [height, width, 3] uint8, RGB.
    """
    figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    _draw_spectrogram(axes, features, frame_s, _color_limits(features))
    axes.set(title=title, xlabel="seconds")
    return _rgb(figure)


def spec_augment_picture(
    before: np.ndarray, after: np.ndarray, frame_s: float, title: str = "", size: tuple[int, int] = (1000, 560)
) -> np.ndarray:
    """Plots features above the same features masked by SpecAugment, with one color scale.

    Args:
        before, after: [T,F] of one utterance, cut to its length.
        frame_s: seconds of one feature frame.
        title: above the picture.
        size: width and height in pixels.

    Returns:
        [height, width, 3] uint8, RGB.
    """
    figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, layout="constrained")
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, features in ((upper, before), (lower, after)):
        _draw_spectrogram(axes, features, frame_s, _color_limits(before))
    upper.set(title=title)
    lower.set(xlabel="seconds")
    for axes, name in ((upper, "before SpecAugment"), (lower, "after")):
        axes.text(0.008, 0.95, name, transform=axes.transAxes, va="top", fontsize=9, bbox=_LABEL)
    return _rgb(figure)


def _color_limits(features: np.ndarray) -> tuple[float, float]:
    # A few clicks or an empty band must not compress the color scale.
    low, high = np.percentile(features, [1, 99.5]) if features.size else (0.0, 1.0)
    return float(low), float(high)


def _draw_spectrogram(axes: Axes, features: np.ndarray, frame_s: float, limits: tuple[float, float]) -> None:
    features = np.asarray(features, dtype=np.float32)
    extent = (0.0, max(len(features), 1) * frame_s, 0.0, float(features.shape[1]))
    picture = features.T if len(features) else np.zeros((features.shape[1], 1), np.float32)
    low, high = limits
    axes.imshow(picture, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=high)
    axes.set(ylabel="mel channel")


def alignment_picture(
    log_probs: np.ndarray,
    tokenizer: Tokenizer,
    timings: Sequence[WordTiming],
    frame_s: float,
    title: str = "",
    size: tuple[int, int] = (1000, 480),
) -> np.ndarray:
    """Plots CTC posteriors over time: the timings above, labels as rows, the blank below.

    A label has a row if its posterior reaches 0.1 anywhere; the six highest labels always have one.

    Args:
        log_probs: [T',V+1] log-probabilities of one utterance, cut to its length; the blank is the last class.
        tokenizer: of the model.
        timings: from `time_labels`, `join_words` or a `TextAligner`.
        frame_s: seconds of one frame of `log_probs`.
        title: above the picture.
        size: width and height in pixels.

    Returns:
        [height, width, 3] uint8, RGB.
    """
    figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, layout="constrained")
    text_axes, axes, blank_axes = figure.subplots(3, 1, sharex=True, height_ratios=[1, 8, 2])
    posteriors = np.exp(np.asarray(log_probs, dtype=np.float32))
    if not len(posteriors):
        posteriors = np.zeros((1, len(tokenizer) + 1), np.float32)
    end_s = len(posteriors) * frame_s
    highest = posteriors[:, :-1].max(axis=0)
    least = min(0.1, np.sort(highest)[-6:][0])
    rows = np.flatnonzero(highest >= least)
    axes.imshow(
        posteriors[:, rows].T,
        aspect="auto",
        extent=(0.0, end_s, len(rows) - 0.5, -0.5),
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
    )
    axes.set_yticks(range(len(rows)), [tokenizer.pieces[i].replace(" ", "␣") for i in rows])
    axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    axes.grid(axis="y", which="minor", color="0.9", linewidth=0.6)
    axes.tick_params(axis="y", which="both", length=0, labelsize=9 if len(rows) < 20 else 7)
    axes.set(ylabel="label", xlim=(0.0, end_s))
    # The blank dominates most frames: separately, it does not compress the color scale of the labels.
    blank_axes.stairs(posteriors[:, -1], np.arange(len(posteriors) + 1) * frame_s, fill=True, color="0.7")
    blank_axes.set(ylim=(0.0, 1.0), ylabel="blank", xlabel="seconds")

    for piece in timings:
        text_axes.axvspan(piece.start_s, piece.end_s, color="tab:blue", alpha=0.1 + 0.5 * piece.confidence, lw=0)
        shown = piece.text.replace(" ", "␣")
        text_axes.text((piece.start_s + piece.end_s) / 2, 0.5, shown, ha="center", va="center", fontsize=11)
    text_axes.set(title=title, ylim=(0, 1))
    text_axes.set_yticks([])
    text_axes.tick_params(bottom=False, labelbottom=False)
    for side in ("top", "right", "left", "bottom"):
        text_axes.spines[side].set_visible(False)
    return _rgb(figure)


def _rgb(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
