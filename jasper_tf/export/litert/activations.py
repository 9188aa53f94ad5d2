"""Measures the activations of a LiteRT model on recordings, for its 8-bit versions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jasper_tf.export.edge.calibration import CalibrationClip
from jasper_tf.export.litert.runtime import open_interpreter
from jasper_tf.io.progress import Progress

MOST_CLIPS = 20
_PERCENTILES = (0.01, 99.99)
_MOST_VALUES = 100_000
"""Of a tensor, for its percentiles."""


@dataclass
class Activation:
    """What a tensor [1,1,T,C] holds in all recordings.

    Attributes:
        low, high: the range of 99.98 % of the values of each recording; the widest of all.
    """

    low: float
    high: float


def measure_activations(model: bytes, clips: Sequence[CalibrationClip]) -> dict[str, Activation]:
    """Runs a float32 model over at most `MOST_CLIPS` recordings -> activations by the names of the tensors.

    Args:
        model: of `build_litert(..., measured=True)`.
        clips: the recordings.
    """
    chosen = np.linspace(0, len(clips) - 1, min(MOST_CLIPS, len(clips))).astype(int)
    interpreter = open_interpreter(model)
    entry = interpreter.get_input_details()[0]["index"]
    ranges: dict[str, list[tuple[float, float]]] = {}
    with Progress("measuring activations", len(chosen)) as progress:
        for number in chosen.tolist():
            audio = clips[number].audio
            interpreter.resize_tensor_input(entry, [1, len(audio)])
            interpreter.allocate_tensors()
            interpreter.set_tensor(entry, audio[None])
            interpreter.invoke()
            for tensor in interpreter.get_output_details()[1:]:
                name, values = tensor["name"], interpreter.get_tensor(tensor["index"])[0, 0]
                some = values.ravel()[:: 1 + values.size // _MOST_VALUES]
                low, high = np.percentile(some, _PERCENTILES)
                ranges.setdefault(name, []).append((low, high))
            progress.advance()
    return {
        name: Activation(min(low for low, _ in found), max(high for _, high in found)) for name, found in ranges.items()
    }
