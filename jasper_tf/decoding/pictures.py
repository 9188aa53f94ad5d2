"""Spectrograms and CTC posteriors as pictures, for TensorBoard and notebooks."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from jasper_tf.decoding.alignment import TimedText

_DPI = 100


def spectrogram_picture(
    features: np.ndarray, frame_s: float, title: str = "", size: tuple[int, int] = (1000, 320)
) -> np.ndarray:
    """Features over seconds, low channels at the bottom.

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
    features = np.asarray(features, dtype=np.float32)
    # A few clicks or an empty band must not flatten the colours of everything else.
    low, high = np.percentile(features, [1, 99.5]) if features.size else (0.0, 1.0)
    extent = (0.0, max(len(features), 1) * frame_s, 0.0, float(features.shape[1]))
    picture = features.T if len(features) else np.zeros((features.shape[1], 1), np.float32)
    axes.imshow(picture, origin="lower", aspect="auto", extent=extent, cmap="magma", vmin=low, vmax=high)
    axes.set(title=title, xlabel="seconds", ylabel="mel channel")
    return _rgb(figure)


def alignment_picture(
    log_probs: np.ndarray,
    labels: Sequence[str],
    letters: Sequence[TimedText],
    frame_s: float,
    title: str = "",
    size: tuple[int, int] = (1000, 480),
) -> np.ndarray:
    """CTC posteriors over seconds with the letters written above the frames they fill.

    Args:
        log_probs: [T',V+1] log-probabilities of one utterance, cut to its length; the blank is the last class.
        labels: the V texts of the classes.
        letters: from `greedy_letters` or `force_align`; words from `join_words` do as well.
        frame_s: seconds of one frame of `log_probs`.
        title: above the picture.
        size: width and height in pixels.

    Returns:
        [height, width, 3] uint8, RGB.
    """
    figure = Figure(figsize=(size[0] / _DPI, size[1] / _DPI), dpi=_DPI, layout="constrained")
    text_axes, axes = figure.subplots(2, 1, sharex=True, height_ratios=[1, 7])
    posteriors = np.exp(np.asarray(log_probs, dtype=np.float32))
    classes = posteriors.shape[1]
    end_s = max(len(posteriors), 1) * frame_s
    picture = posteriors.T if len(posteriors) else np.zeros((classes, 1), np.float32)
    # The blank holds most of the frames: drawn as a line it leaves the colours to the letters.
    axes.imshow(
        picture[:-1],
        aspect="auto",
        extent=(0.0, end_s, classes - 1.5, -0.5),
        cmap="Blues",
        vmin=0.0,
        vmax=1.0,
        interpolation="nearest",
    )
    axes.set_yticks(range(classes - 1), [{" ": "␣"}.get(label, label) for label in labels], fontsize=6)
    axes.set(xlabel="seconds", ylabel="label", xlim=(0.0, end_s))
    blank_axes = axes.twinx()
    middle_s = (np.arange(len(posteriors)) + 0.5) * frame_s
    blank_axes.plot(middle_s, posteriors[:, -1], color="tab:orange", linewidth=0.8, alpha=0.8)
    blank_axes.set(ylim=(-0.02, 1.02), ylabel="blank")
    blank_axes.yaxis.label.set_color("tab:orange")

    for letter in letters:
        if letter.text == " ":
            continue
        text_axes.axvspan(letter.start_s, letter.end_s, color="tab:blue", alpha=0.15 + 0.6 * letter.confidence, lw=0)
        text_axes.text((letter.start_s + letter.end_s) / 2, 0.5, letter.text, ha="center", va="center", fontsize=9)
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
