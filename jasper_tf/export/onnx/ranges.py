"""Ranges of activations for 8-bit quantization, from recordings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import helper

_BINS = 4096
Range = tuple[float, float]


class ActivationHistograms:
    """Histograms of tensors of a float32 model on recordings.

    Args:
        model: with inputs `audio` and `audio_len`.
        points: names of tensors, see `EncoderWriter.points`.
        recordings: [S] float32 each; they are run twice, first for the extremes.
        threads: of the runtime; 0 is one for each core.
    """

    def __init__(self, model: onnx.ModelProto, points: Mapping[str, str], recordings: Sequence[np.ndarray]):
        watched = onnx.ModelProto()
        watched.CopyFrom(model)
        del watched.graph.output[:]
        names = sorted(set(points.values()))
        watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
        self._session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
        self._names = names
        extremes = [[(x.min(), x.max()) for x in values] for values in self._run(recordings)]
        low, high = np.min(extremes, axis=0)[:, 0], np.max(extremes, axis=0)[:, 1]
        counts = np.zeros((len(names), _BINS))
        for values in self._run(recordings):
            for number, x in enumerate(values):
                counts[number] += np.histogram(x, _BINS, (low[number], max(high[number], low[number] + 1e-12)))[0]
        self._histograms = {
            point: (float(low[k]), float(high[k]), counts[k])
            for point, k in ((point, names.index(name)) for point, name in points.items())
        }

    def _run(self, recordings: Sequence[np.ndarray]) -> Iterable[list[np.ndarray]]:
        for audio in recordings:
            yield self._session.run(self._names, {"audio": audio[None], "audio_len": np.array([len(audio)], np.int32)})

    def percentile(self, share: float) -> dict[str, Range]:
        """Ranges that hold `share` percent of the values, as much left out at each end."""
        found = {}
        for point, (low, high, counts) in self._histograms.items():
            edges, cut = np.linspace(low, high, _BINS + 1), (100 - share) / 200
            total = np.cumsum(counts) / counts.sum()
            found[point] = (
                float(edges[np.searchsorted(total, cut)]),
                float(edges[1:][np.searchsorted(total, 1 - cut)]),
            )
        return found
