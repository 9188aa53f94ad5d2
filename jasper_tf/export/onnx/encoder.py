"""Adds the encoder and the head to an ONNX graph: features to log-probabilities."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from onnx import TensorProto

from jasper_tf.export.edge.network import Block, Convolution, Excitation, GroupNormalization, Network, Stage
from jasper_tf.export.onnx.graph import Graph, valid
from jasper_tf.export.onnx.int8 import Quantized, StaticInt8, convolve_dynamic, dequantize

_TIME = 3

Precision = StaticInt8 | Literal["dynamic"] | None
"""Of the encoder: 8 bits with ranges; 8 bits with the range of each batch (grouped convolutions: float32); float32."""


@dataclass(frozen=True)
class Frames:
    """A tensor of the encoder.

    Args:
        x: [B,C,1,T].
        length: [B] int32, valid frames.
        is_zero: whether `x` is zero beyond the length.
        frames: T, an int32 without axes. Not read from the shape of `x`: a convolution whose output has a second reader
            is not computed in integers.
        quantized: what `x` is the float32 value of; None where it is not quantized.
    """

    x: str
    length: str
    is_zero: bool
    frames: str
    quantized: Quantized | None = None


class EncoderWriter:
    """Adds blocks and head of a network to a graph.

    Args:
        graph: to add to.
        network: what to add.
        precision: of the convolutions. The first one and the head, a hundredth of the work, stay float32.

    Attributes:
        points: the tensors that `StaticInt8` can quantize: their names there, and in the graph.
    """

    def __init__(self, graph: Graph, network: Network, precision: Precision = None):
        self.points: dict[str, str] = {}
        self._graph = graph
        self._network = network
        self._precision = precision
        self._masks: dict[tuple[str, str], str] = {}

    def add(self, features: Frames) -> Frames:
        """Adds blocks, head and log-softmax; the result is [B,T',V+1]."""
        graph, outputs = self._graph, [features]
        with graph.scope("encoder"):
            for number, block in enumerate(self._network.blocks):
                with graph.scope(f"block_{number}"):
                    y = self._block(block, outputs, f"block_{number}")
                    outputs.append(self._point(y, f"block_{number}"))
        with graph.scope("head"):
            y = replace(outputs[-1], quantized=None)
            logits = self._convolve(y, self._network.head, "conv", None).x
            logits = graph.op("Transpose", graph.op("Squeeze", logits, graph.ints(2)), perm=[0, 2, 1])
            return replace(y, x=graph.op("LogSoftmax", logits, axis=2))

    def _block(self, block: Block, outputs: list[Frames], name: str) -> Frames:
        graph, y = self._graph, outputs[-1]
        last = len(block.stages) - 1
        ends_simply = block.excitation is None and not block.residuals
        for number, stage in enumerate(block.stages):
            # A runtime takes ReLU into the convolution before it; anything else reads the convolution's output.
            is_fused = block.activation == "relu" and (number < last or ends_simply)
            y = self._stage(stage, y, block.counts_lengths, f"{name}/{number}", is_fused)
            if number < last:
                y = self._point(self._activate(y, block.activation), f"{name}/activation_{number}")
        if block.excitation is not None:
            y = self._excite(block.excitation, y)
        for number, residual in enumerate(block.residuals):
            source = replace(outputs[residual.source], length=outputs[-1].length)
            branch = self._stage(residual.stage, source, block.counts_lengths, f"{name}/residual_{number}", False)
            kind = "Max" if block.residual_mode == "max" else "Add"
            y = replace(y, x=graph.op(kind, y.x, branch.x), is_zero=False)
        return self._activate(y, block.activation)

    def _stage(self, stage: Stage, y: Frames, counts_lengths: bool, name: str, is_fused: bool) -> Frames:
        graph, last = self._graph, len(stage.convolutions) - 1
        for number, convolution in enumerate(stage.convolutions):
            if convolution.masked:
                y = self._mask(y)
            kind = "conv" if number == last else "depthwise"
            y = self._convolve(y, convolution, kind, self._precision)
            if counts_lengths and not convolution.keeps_length:
                y = replace(y, length=self._output_length(y.length, convolution))
            if number < last or stage.normalization or stage.shuffle > 1 or not is_fused:
                y = self._point(y, f"{name}/{kind}")
        if stage.normalization is not None:
            y = replace(y, x=self._normalize(y.x, stage.normalization), is_zero=False, quantized=None)
        if stage.shuffle > 1:
            order = np.arange(stage.convolutions[-1].kernel.shape[2]).reshape(stage.shuffle, -1).T.ravel()
            x = graph.op("Gather", y.x, graph.ints(*order.tolist()), axis=1, name="shuffle")
            y = replace(y, x=x, quantized=None)
        return y

    def _point(self, y: Frames, name: str) -> Frames:
        self.points[name] = y.x
        if not isinstance(self._precision, StaticInt8):
            return y
        quantized = self._precision.quantize(self._graph, y.x, name)
        return y if quantized is None else replace(y, x=dequantize(self._graph, quantized), quantized=quantized)

    def _convolve(self, y: Frames, convolution: Convolution, name: str, precision: Precision) -> Frames:
        x = self._operate(y, convolution, name, precision)
        frames = y.frames if convolution.keeps_length else self._output_length(y.frames, convolution)
        return Frames(x, y.length, is_zero=False, frames=frames)

    def _operate(self, y: Frames, convolution: Convolution, name: str, precision: Precision) -> str:
        graph, (left, right) = self._graph, convolution.padding
        options: dict[str, Any] = {
            "kernel_shape": [1, len(convolution.kernel)],
            "strides": [1, convolution.stride],
            "dilations": [1, convolution.dilation],
            "group": convolution.groups,
            "pads": [0, left, 0, right],
        }
        if precision == "dynamic" and convolution.groups == 1:
            return convolve_dynamic(graph, y.x, convolution, name, options)
        if isinstance(precision, StaticInt8) and y.quantized is not None:
            weights = precision.weights(graph, convolution, name, y.quantized)
        else:
            weights = [graph.weight(convolution.kernel.transpose(2, 1, 0)[:, :, None, :], f"{name}/kernel")]
            if convolution.bias is not None:
                weights.append(graph.weight(convolution.bias, f"{name}/bias"))
        return graph.op("Conv", y.x, *weights, name=name, **options)

    def _output_length(self, length: str, convolution: Convolution) -> str:
        graph, one = self._graph, self._graph.const(1, np.int32)
        place = graph.op("Add", length, graph.const(convolution.length_offset, np.int32))
        if convolution.stride > 1:  # divided towards zero: a length of 0 becomes 1, as in the model
            place = graph.op("Div", graph.op("Abs", place), graph.const(convolution.stride, np.int32))
        return graph.op("Add", place, one, name="length")

    def _mask(self, y: Frames) -> Frames:
        if y.is_zero:
            return y
        graph, inside = self._graph, self._valid(y)
        if y.quantized is None:
            # A product: it is faster than Where, and the values are finite.
            mask = graph.op("Cast", inside, to=TensorProto.FLOAT)
            return replace(y, x=graph.op("Mul", y.x, mask, name="masked"), is_zero=True)
        quantized = replace(
            y.quantized, q=graph.op("Where", inside, y.quantized.q, y.quantized.zero_point, name="masked")
        )
        return replace(y, x=dequantize(graph, quantized), quantized=quantized, is_zero=True)

    def _valid(self, y: Frames) -> str:
        """[B,1,1,T] bool: the valid frames."""
        key = (y.length, y.frames)
        if key not in self._masks:
            self._masks[key] = valid(self._graph, *key, axes=[1, 2, 3])
        return self._masks[key]

    def _activate(self, y: Frames, activation: str) -> Frames:
        return replace(y, x=self._activation(y.x, activation), quantized=None)  # zeros stay zeros in all of them

    def _activation(self, x: str, name: str) -> str:
        graph = self._graph
        if name == "relu":
            return graph.op("Relu", x)
        if name == "hard_tanh":
            return graph.op("Clip", x, graph.const(-1.0, np.float32), graph.const(1.0, np.float32))
        if name == "selu":
            return graph.op("Selu", x)
        return graph.op("Mul", x, graph.op("Sigmoid", x), name="silu")

    def _excite(self, excitation: Excitation, y: Frames) -> Frames:
        graph = self._graph
        with graph.scope("excitation"):
            y = self._mask(y)
            inside = graph.op("Cast", self._valid(y), to=TensorProto.FLOAT)
            count = graph.op("ReduceSum", graph.op("Squeeze", inside, graph.ints(1, 2)), graph.ints(1))  # [B,1]
            total = graph.op("ReduceSum", y.x, graph.ints(2, _TIME), keepdims=0)  # [B,C]
            mean = graph.op("Div", total, graph.op("Max", count, graph.const(1.0, np.float32)))
            hidden = graph.op("MatMul", mean, graph.weight(excitation.squeeze, "squeeze"))
            hidden = self._activation(hidden, excitation.activation)
            gate = graph.op("Sigmoid", graph.op("MatMul", hidden, graph.weight(excitation.excite, "excite")))
            x = graph.op("Mul", y.x, graph.op("Unsqueeze", gate, graph.ints(2, _TIME)))
        return replace(y, x=x, quantized=None)

    def _normalize(self, x: str, norm: GroupNormalization) -> str:
        graph = self._graph
        with graph.scope("normalization"):
            shape = graph.op("Shape", x)
            grouped = graph.op("Reshape", x, graph.ints(0, norm.groups, -1))
            centered = graph.op("Sub", grouped, graph.op("ReduceMean", grouped, axes=[2]))
            variance = graph.op("ReduceMean", graph.op("Mul", centered, centered), axes=[2])
            std = graph.op("Sqrt", graph.op("Add", variance, graph.const(norm.epsilon, np.float32)))
            normal = graph.op("Reshape", graph.op("Div", centered, std), shape)
            scaled = graph.op("Mul", normal, graph.weight(norm.gamma[:, None, None], "gamma"))
            return graph.op("Add", scaled, graph.weight(norm.beta[:, None, None], "beta"))
