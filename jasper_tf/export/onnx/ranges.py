"""Ranges of activations for 8-bit quantization."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
import onnxruntime
from onnx import helper

from jasper_tf.export.onnx.model import OnnxNetwork
from jasper_tf.io.progress import Progress


def find_ranges(model: OnnxNetwork, recordings: Sequence[np.ndarray]) -> dict[str, tuple[float, float]]:
    """Runs recordings [S] float32 and returns the lowest and highest value of each of `model.points`.

    Ranges that leave out values gain nothing with these models: 99.99 % of the values instead of all cost QuartzNet
    0.4 points of WER.
    """
    watched = onnx.ModelProto()
    watched.CopyFrom(model.proto)
    names = sorted(set(model.points.values()))
    del watched.graph.output[:]
    watched.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    session = onnxruntime.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    low, high = np.full(len(names), np.inf), np.full(len(names), -np.inf)
    with Progress("calibrating", len(recordings)) as progress:
        for audio in recordings:
            values = session.run(names, {"audio": audio[None], "audio_len": np.array([len(audio)], np.int32)})
            low = np.minimum(low, [x.min() for x in values])
            high = np.maximum(high, [x.max() for x in values])
            progress.advance(1)
    found = dict(zip(names, zip(low.tolist(), high.tolist(), strict=True), strict=True))
    return {point: found[name] for point, name in model.points.items()}
