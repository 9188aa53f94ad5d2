"""Plots of spectrograms and CTC posteriors, for TensorBoard and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from jasper_tf.decoding.alignment import WordTiming, join_words
from jasper_tf.text.tokenizer import Tokenizer

_DPI = 100
# TensorBoard's card is 350 pixels wide and shows every second pixel of 700: 16 points are 11 pixels high there.
_legible = rc_context({"font.size": 16.0, "axes.titlesize": 16.0})
_LABEL = {"boxstyle": "round,pad=0.25", "facecolor": "white", "edgecolor": "none", "alpha": 0.85}
_TITLE_CHARACTERS = 50  # of a line
_TICKS_HZ = (250, 500, 1000, 2000, 4000, 8000, 16000)
_LEAST_TICK_DISTANCE = 0.08  # share of the axis


@_legible
def spectrogram_picture(
    features: np.ndarray,
    frame_s: float,
    title: str = "",
    size: tuple[int, int] = (700, 400),
    band_hz: np.ndarray | None = None,
) -> np.ndarray:
    """Plots features over time, low frequencies at the bottom.

    Args:
        features: [T,F] of one utterance, cut to its length. Masked stretches show as flat bands.
        frame_s: seconds of one feature frame.
        title: above the picture; long lines are cut.
        size: width and height in pixels.
        band_hz: frequencies in Hz of the mel bands: `LogMelSpectrogram.band_hz`. Without it, and for stacked frames,
            which have several of each band, the axis has the numbers of the bands.

    Returns:
        [height, width, 3] uint8, RGB.
    """
    figure = _figure(size)
    axes = figure.add_subplot()
    draw_spectrogram(axes, features, frame_s, _color_limits(features), band_hz)
    axes.set(title=_cut(title), xlabel="seconds")
    return _rgb(figure)


@_legible
def spec_augment_picture(
    before: np.ndarray,
    after: np.ndarray,
    frame_s: float,
    title: str = "",
    size: tuple[int, int] = (700, 600),
    band_hz: np.ndarray | None = None,
) -> np.ndarray:
    """Plots features above the same features masked by SpecAugment, with one color scale.

    Args:
        before, after: [T,F] of one utterance, cut to its length.
        frame_s, title, size, band_hz: see `spectrogram_picture`.

    Returns:
        [height, width, 3] uint8, RGB.
    """
    figure = _figure(size)
    upper, lower = figure.subplots(2, 1, sharex=True)
    for axes, features in ((upper, before), (lower, after)):
        draw_spectrogram(axes, features, frame_s, _color_limits(before), band_hz)
    upper.set(title=_cut(title))
    lower.set(xlabel="seconds")
    for axes, name in ((upper, "before SpecAugment"), (lower, "after")):
        axes.text(0.012, 0.94, name, transform=axes.transAxes, va="top", bbox=_LABEL)
    return _rgb(figure)


@_legible
def alignment_picture(
    log_probs: np.ndarray,
    tokenizer: Tokenizer,
    timings: Sequence[WordTiming],
    frame_s: float,
    title: str = "",
    size: tuple[int, int] = (700, 660),
) -> np.ndarray:
    """Plots CTC posteriors over time: the words above, labels as rows (␣ is a space), the blank below.

    A label has a row if its posterior reaches 0.1 anywhere or it is in `timings`; the six highest labels always have
    one. Each timing is written into its row.

    Args:
        log_probs: [T',V+1] log-probabilities of one utterance, cut to its length; the blank is the last class.
        tokenizer: of the model.
        timings: from `time_labels`, `join_words` or a `TextAligner`.
        frame_s: seconds of one frame of `log_probs`.
        title: above the picture; long lines are cut.
        size: width and height in pixels.

    Returns:
        [height, width, 3] uint8, RGB.
    """
    posteriors = np.exp(np.asarray(log_probs, dtype=np.float32))
    if not len(posteriors):
        posteriors = np.zeros((1, len(tokenizer) + 1), np.float32)
    end_s = len(posteriors) * frame_s
    highest = posteriors[:, :-1].max(axis=0)
    spoken = np.isin(np.array(tokenizer.pieces, dtype=object), [label.text for label in timings])
    rows = np.flatnonzero((highest >= min(0.1, np.sort(highest)[-6:][0])) | spoken)
    row_of = {tokenizer.pieces[i]: row for row, i in enumerate(rows)}
    figure = _figure(size)
    words_axes, axes, blank_axes = figure.subplots(3, 1, sharex=True, height_ratios=[1, 10, 2])
    axes.imshow(
        posteriors[:, rows].T,
        aspect="auto",
        extent=(0.0, end_s, len(rows) - 0.5, -0.5),
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
    )
    points = min(16.0, 270.0 / len(rows))  # as high as a row
    names = ["space" if tokenizer.pieces[i] == " " else _visible(tokenizer.pieces[i]) for i in rows]
    axes.set_yticks(range(len(rows)), names, fontsize=points)
    axes.set_yticks(np.arange(len(rows) - 1) + 0.5, minor=True)
    axes.grid(axis="y", which="minor", color="0.85", linewidth=0.8)
    axes.tick_params(axis="y", which="both", length=0)
    axes.set(xlim=(0.0, end_s))
    for label in timings:
        axes.text(
            (label.start_s + label.end_s) / 2,
            row_of[label.text],
            _visible(label.text),
            ha="center",
            va="center",
            fontsize=points,
            color="white" if label.confidence > 0.7 else "black",
        )
    # The blank dominates most frames: separately, it does not compress the color scale of the labels.
    blank_axes.stairs(posteriors[:, -1], np.arange(len(posteriors) + 1) * frame_s, fill=True, color="0.7")
    blank_axes.set(ylim=(0.0, 1.0), xlabel="seconds")
    blank_axes.set_yticks([0.5], ["blank"])
    blank_axes.tick_params(axis="y", length=0)
    blank_axes.xaxis.set_major_locator(MaxNLocator(6))
    for word in join_words(timings):
        words_axes.axvspan(word.start_s, word.end_s, color="tab:blue", alpha=0.1 + 0.4 * word.confidence, lw=0)
        words_axes.text((word.start_s + word.end_s) / 2, 0.5, word.text, ha="center", va="center")
    words_axes.set(title=_cut(title), ylim=(0, 1))
    words_axes.set_yticks([])
    words_axes.tick_params(bottom=False, labelbottom=False)
    axes.tick_params(labelbottom=False)
    for side in ("top", "right", "left", "bottom"):
        words_axes.spines[side].set_visible(False)
    return _rgb(figure)


def _figure(size: tuple[int, int]) -> Figure:
    return Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, layout="constrained")


def _color_limits(features: np.ndarray) -> tuple[float, float]:
    # A few clicks or an empty band must not compress the color scale.
    low, high = np.percentile(features, [1, 99.5]) if features.size else (0.0, 1.0)
    return float(low), float(high)


def draw_spectrogram(
    axes: Axes, features: np.ndarray, frame_s: float, limits: tuple[float, float], band_hz: np.ndarray | None
) -> None:
    """Draws features [T,F] into `axes`, with the colors from the first to the second of `limits`."""
    features = np.asarray(features, dtype=np.float32)
    bands = features.shape[1]
    extent = (0.0, max(len(features), 1) * frame_s, 0.0, float(bands))
    picture = features.T if len(features) else np.zeros((bands, 1), np.float32)
    low, high = limits
    axes.imshow(picture, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=high)
    axes.xaxis.set_major_locator(MaxNLocator(6))
    if band_hz is None or len(band_hz) != bands:
        axes.set(ylabel="mel band")
        axes.yaxis.set_major_locator(MaxNLocator(4))
        return
    ticks: dict[float, str] = {}
    for hz in _TICKS_HZ:
        place = float(np.interp(hz, band_hz, np.arange(bands) + 0.5, left=-1.0, right=-1.0))
        if place >= 0 and all(place - other >= _LEAST_TICK_DISTANCE * bands for other in ticks):
            ticks[place] = f"{hz:,}"
    axes.set(ylabel="Hz")
    axes.set_yticks(list(ticks), list(ticks.values()))


def _cut(title: str) -> str:
    return "\n".join(
        line if len(line) <= _TITLE_CHARACTERS else f"{line[: _TITLE_CHARACTERS - 1]}…" for line in title.split("\n")
    )


def _visible(piece: str) -> str:
    return piece.replace(" ", "␣")


def _rgb(figure: Figure) -> np.ndarray:
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()
