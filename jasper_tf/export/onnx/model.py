"""Makes the ONNX model of a network."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import TensorProto

from jasper_tf.export.edge.network import Network
from jasper_tf.export.onnx.encoder import EncoderWriter, Frames
from jasper_tf.export.onnx.front_end import add_features, add_normalization
from jasper_tf.export.onnx.graph import Graph
from jasper_tf.export.onnx.int8 import Int8


@dataclass(frozen=True)
class OnnxModel:
    """A model, and what its encoder may quantize (see `EncoderWriter.points`)."""

    proto: onnx.ModelProto
    points: dict[str, str]


def make_onnx(network: Network, int8: Int8 | None = None) -> OnnxModel:
    """Makes the model `audio` [B,S] float32, `audio_len` [B] int32 -> `log_probs` [B,T',V+1], `log_probs_len` [B]."""
    graph = Graph()
    with graph.scope("front_end"):
        features, feature_len = add_features(graph, network.front_end, "audio", "audio_len")
        features, is_zero = add_normalization(graph, network.front_end, features, feature_len)
    writer = EncoderWriter(graph, network, int8)
    found = writer.add(Frames(features, feature_len, is_zero, like=features))
    assert found.length is not None
    graph.rename(found.x, "log_probs")
    graph.rename(found.length, "log_probs_len")
    classes = network.head.kernel.shape[2]
    proto = graph.to_model(
        [("audio", TensorProto.FLOAT, ["B", "S"]), ("audio_len", TensorProto.INT32, ["B"])],
        [("log_probs", TensorProto.FLOAT, ["B", "T", classes]), ("log_probs_len", TensorProto.INT32, ["B"])],
        {},
    )
    return OnnxModel(proto, writer.points)
