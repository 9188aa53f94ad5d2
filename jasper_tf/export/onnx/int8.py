"""Adds 8-bit activations and weights to an ONNX graph, as pairs of QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from jasper_tf.export.edge.network import Convolution
from jasper_tf.export.onnx.graph import Graph


@dataclass(frozen=True)
class Quantized:
    """A tensor of uint8 q with the values scale * (q - zero_point).

    Attributes:
        q, scale, zero_point: names in the graph.
        scale_value: the number.
    """

    q: str
    scale: str
    zero_point: str
    scale_value: float


class Int8:
    """Quantizes the tensors that have a range, and the kernels of the convolutions that read one.

    Activations are uint8 of one scale, kernels int8 of one scale for each output channel, biases int32.

    Args:
        ranges: lowest and highest value by the names of `EncoderWriter.points`; the others stay float32.
        head: whether the head is quantized too.
    """

    def __init__(self, ranges: Mapping[str, tuple[float, float]] | None = None, head: bool = False):
        self.ranges = ranges or {}
        self.head = head

    def quantize(self, graph: Graph, x: str, point: str) -> Quantized | None:
        """Adds the quantization of a tensor; None if it has no range."""
        if point not in self.ranges:
            return None
        low, high = min(self.ranges[point][0], 0.0), max(self.ranges[point][1], 0.0)
        scale = np.float32((high - low) / 255 or 1.0)
        names = graph.const(scale, np.float32), graph.const(np.rint(-low / scale), np.uint8)
        return Quantized(graph.op("QuantizeLinear", x, *names), *names, float(scale))

    def dequantize(self, graph: Graph, y: Quantized) -> str:
        """Adds the float32 values of a quantized tensor."""
        return graph.op("DequantizeLinear", y.q, y.scale, y.zero_point)

    def weights(self, graph: Graph, convolution: Convolution, name: str, y: Quantized) -> list[str]:
        """Adds kernel, and bias if any, of a convolution that reads `y`."""
        kernel, bias = convolution.kernel.transpose(2, 1, 0)[:, :, None, :], convolution.bias
        scale = np.abs(kernel).max(axis=(1, 2, 3)) / np.float32(127)
        if bias is not None:  # of a channel with almost no weights, the bias must fit into 32 bits too
            scale = np.maximum(scale, np.abs(bias) / np.float32(y.scale_value * 2**30))
        scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
        integers = np.clip(np.rint(kernel / scale[:, None, None, None]), -127, 127).astype(np.int8)
        scale_name = graph.weight(scale, f"{name}/kernel_scale")
        zeros = graph.const(np.zeros(len(scale)), np.int8)
        q = graph.weight(integers, f"{name}/kernel_int8")
        found = [graph.op("DequantizeLinear", q, scale_name, zeros, axis=0, name=f"{name}/kernel")]
        if bias is not None:
            bias_scale = (scale * np.float32(y.scale_value)).astype(np.float32)
            integers = np.rint(bias.astype(np.float64) / bias_scale).astype(np.int32)
            inputs = graph.weight(integers, f"{name}/bias_int32"), graph.weight(bias_scale, f"{name}/bias_scale")
            zeros = graph.const(np.zeros(len(scale)), np.int32)
            found.append(graph.op("DequantizeLinear", *inputs, zeros, axis=0, name=f"{name}/bias"))
        return found
