"""The ONNX model of a network."""

from __future__ import annotations

from dataclasses import dataclass

import onnx
from onnx import TensorProto

from jasper_tf.export.edge.network import Network
from jasper_tf.export.onnx.encoder import EncoderWriter, Frames, Precision
from jasper_tf.export.onnx.front_end import add_features, add_normalization
from jasper_tf.export.onnx.graph import Graph, size


@dataclass(frozen=True)
class OnnxNetwork:
    """A model, and the tensors of its encoder that can be quantized (see `EncoderWriter.points`)."""

    proto: onnx.ModelProto
    points: dict[str, str]


def make_onnx(network: Network, precision: Precision = None) -> OnnxNetwork:
    """Makes the model `audio` [B,S] float32, `audio_len` [B] int32 -> `log_probs` [B,T',V+1], `log_probs_len` [B].

    Args:
        network: of `read_network`.
        precision: of the encoder, see `EncoderWriter`.
    """
    graph = Graph()
    with graph.scope("front_end"):
        features, feature_len = add_features(graph, network.front_end, "audio", "audio_len")
    found, points = add_network(graph, network, features, feature_len, precision)
    assert found.length is not None
    graph.rename(found.x, "log_probs")
    graph.rename(found.length, "log_probs_len")
    proto = graph.to_model(
        [("audio", TensorProto.FLOAT, ["B", "S"]), ("audio_len", TensorProto.INT32, ["B"])],
        [
            ("log_probs", TensorProto.FLOAT, ["B", "T", network.head.kernel.shape[2]]),
            ("log_probs_len", TensorProto.INT32, ["B"]),
        ],
        {},
    )
    return OnnxNetwork(proto, points)


def add_network(
    graph: Graph, network: Network, features: str, feature_len: str, precision: Precision
) -> tuple[Frames, dict[str, str]]:
    """Adds all that follows the log-mel features [B,F,1,T]; returns log-probabilities [B,T',V+1] and the points."""
    with graph.scope("front_end"):
        x, is_zero = add_normalization(graph, network.front_end, features, feature_len)
    writer = EncoderWriter(graph, network, precision)
    return writer.add(Frames(x, feature_len, is_zero, size(graph, x, 3))), writer.points
