"""8-bit activations and weights in an ONNX graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import TensorProto

from jasper_tf.export.edge.kernel_rounding import quantize_kernel
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


class StaticInt8:
    """Quantizes the tensors that have a range, and the convolutions that read one, by QuantizeLinear and its inverse.

    Activations are uint8 of one scale, kernels int8 of one scale for each output channel, biases int32. A runtime
    computes a convolution in integers where its output is quantized too.

    Args:
        ranges: lowest and highest value by the names of `EncoderWriter.points`; the others stay float32.
    """

    def __init__(self, ranges: Mapping[str, tuple[float, float]]):
        self._ranges = ranges

    def quantize(self, graph: Graph, x: str, point: str) -> Quantized | None:
        """Adds the quantization of a tensor; None if it has no range."""
        if point not in self._ranges:
            return None
        low, high = (float(value) for value in self._ranges[point])
        low, high = min(low, 0.0), max(high, 0.0)
        scale = np.float32((high - low) / 255 or 1.0)
        names = graph.const(scale, np.float32), graph.const(np.rint(-low / scale), np.uint8)
        return Quantized(graph.op("QuantizeLinear", x, *names), *names, float(scale))

    def weights(self, graph: Graph, convolution: Convolution, name: str, y: Quantized) -> list[str]:
        """Adds kernel, and bias if any, of a convolution that reads `y`."""
        bias = convolution.bias
        # Of a channel with almost no weights, the bias must fit into 32 bits too.
        floor = 0.0 if bias is None else np.abs(bias) / np.float32(y.scale_value * 2**30)
        integers, scale = _kernel(convolution, floor)
        zeros = graph.const(np.zeros(len(scale)), np.int8)
        inputs = graph.weight(integers, f"{name}/kernel_int8"), graph.weight(scale, f"{name}/kernel_scale")
        found = [graph.op("DequantizeLinear", *inputs, zeros, axis=0, name=f"{name}/kernel")]
        if bias is not None:
            bias_scale = scale * np.float32(y.scale_value)
            integers = np.rint(bias.astype(np.float64) / bias_scale).astype(np.int32)
            inputs = graph.weight(integers, f"{name}/bias_int32"), graph.weight(bias_scale, f"{name}/bias_scale")
            zeros = graph.const(np.zeros(len(scale)), np.int32)
            found.append(graph.op("DequantizeLinear", *inputs, zeros, axis=0, name=f"{name}/bias"))
        return found


def dequantize(graph: Graph, y: Quantized) -> str:
    """Adds the float32 values of a quantized tensor."""
    return graph.op("DequantizeLinear", y.q, y.scale, y.zero_point)


def convolve_dynamic(graph: Graph, x: str, convolution: Convolution, name: str, options: dict[str, Any]) -> str:
    """Adds a convolution in integers whose input is quantized by its own range, that of the whole batch."""
    integers, scale = _kernel(convolution)
    q, x_scale, x_zero = graph.ops("DynamicQuantizeLinear", x, outputs=3)
    # ONNX Runtime takes no int8 kernel here.
    kernel = graph.weight((integers.astype(np.int16) + 128).astype(np.uint8), f"{name}/kernel_uint8")
    total = graph.op("ConvInteger", q, kernel, x_zero, graph.const(128, np.uint8), name=name, **options)
    factor = graph.op("Mul", x_scale, graph.weight(scale[:, None, None], f"{name}/kernel_scale"))
    y = graph.op("Mul", graph.op("Cast", total, to=TensorProto.FLOAT), factor)
    if convolution.bias is None:
        return y
    return graph.op("Add", y, graph.weight(convolution.bias[:, None, None], f"{name}/bias"))


def _kernel(convolution: Convolution, floor: Any = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(kernel [C_out, C_in // groups, 1, k] int8, scale [C_out])."""
    integers, scale = quantize_kernel(convolution, floor)
    return integers.transpose(2, 1, 0)[:, :, None, :], scale
