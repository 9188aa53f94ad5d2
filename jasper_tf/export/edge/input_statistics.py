"""Measures what the convolutions of a recognizer read on recordings, for its 8-bit versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jasper_tf.export.edge.calibration import CalibrationClip
from jasper_tf.export.edge.network import Convolution, Network
from jasper_tf.io.progress import Progress
from jasper_tf.model.blocks.masked_conv import MaskedConv1D
from jasper_tf.model.jasper_ctc import JasperCTC

MOST_S = 100.0
MOST_COEFFICIENTS = 4096
"""Inputs of one output, k * C_in // groups, whose moments are measured over all taps; above, over each tap alone."""


@dataclass
class InputStatistics:
    """What a convolution reads, over the frames of all recordings.

    Attributes:
        frames: their number.
        sum: [C_in].
        products: [lags, groups, C_in // groups, C_in // groups]: the sum of x[t, i] * x[t + lag * dilation, j]. No lag
            for a depthwise convolution.
    """

    frames: int
    sum: np.ndarray
    products: np.ndarray

    @property
    def mean(self) -> np.ndarray:
        """[C_in]."""
        return self.sum / max(self.frames, 1)


def measure_inputs(model: JasperCTC, network: Network, clips: Sequence[CalibrationClip]) -> list[InputStatistics]:
    """Runs some recordings, `MOST_S` seconds or one -> the inputs of `network.convolutions()`, then that of its head.

    Args:
        model: the recognizer.
        network: its description.
        clips: the recordings.
    """
    convolutions = [*network.convolutions(), network.head]
    found: list[InputStatistics] = [_nothing(convolution) for convolution in convolutions]
    seconds = np.mean([len(clip.audio) for clip in clips]) / model.sample_rate
    chosen = np.linspace(0, len(clips) - 1, int(np.clip(MOST_S / seconds, 1, len(clips)))).astype(int)
    with Progress("measuring activations", len(chosen)) as progress:
        for number in chosen.tolist():
            for one, convolution, x in zip(found, convolutions, _inputs(model, clips[number].audio), strict=True):
                _count(one, convolution, x)
            progress.advance(1)
    return found


def _inputs(model: JasperCTC, audio: np.ndarray) -> list[np.ndarray]:
    """The inputs [T,C] of the convolutions and the head, in the order of `Network.convolutions`."""
    layers = []
    for block in model.encoder.blocks:
        for number in range(len(block.convolutions)):
            layers += block.layers_of_sub_block(number)
        layers += block.residual_convolutions
    taken: dict[int, np.ndarray] = {}

    def watch(layer: MaskedConv1D) -> None:
        call = layer.call

        def watched(x, *arguments, **options):
            taken[id(layer)] = np.asarray(x)[0]
            return call(x, *arguments, **options)

        layer.call = watched  # type: ignore[method-assign]  # of this layer only

    given = {"audio": audio[None], "audio_len": np.array([len(audio)], np.int32)}
    _, features, length = model.spectrograms(given, training=False)
    panes = [features[:, : int(length[0])]]
    for layer in layers:
        watch(layer)
    try:
        for block in model.encoder.blocks:
            y, length = block(panes, length, training=False)
            panes = [*panes, y] if block.residual_dense else [y]
    finally:
        for layer in layers:
            del layer.call
    return [*(taken[id(layer)] for layer in layers), np.asarray(panes[-1])[0]]


def _nothing(convolution: Convolution) -> InputStatistics:
    taps, width, _ = convolution.kernel.shape
    channels = width * convolution.groups
    lags = taps if taps * width <= MOST_COEFFICIENTS else 1
    lags = 0 if convolution.is_depthwise else lags
    products = np.zeros((lags, convolution.groups, width, width), np.float32)
    return InputStatistics(0, np.zeros(channels), products)


def _count(found: InputStatistics, convolution: Convolution, x: np.ndarray) -> None:
    found.frames += len(x)
    found.sum += x.sum(axis=0, dtype=np.float64)
    groups = x.reshape(len(x), convolution.groups, -1).transpose(1, 2, 0)  # [groups, C_in // groups, T]
    for lag in range(min(len(found.products), 1 + len(x) // convolution.dilation)):
        shift = lag * convolution.dilation
        later = groups[:, :, shift:]
        found.products[lag] += groups[:, :, : later.shape[2]] @ later.transpose(0, 2, 1)
