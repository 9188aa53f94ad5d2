"""Layers of a LiteRT graph: frames [1,1,T,C], convolutions along T, weights in the wanted precision."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from jasper_tf.export.edge.kernel_rounding import quantize_kernel
from jasper_tf.export.edge.network import Convolution
from jasper_tf.export.litert.activations import Activation
from jasper_tf.export.litert.flatbuffer import OP, FlatBufferModel

MOST_DEPTHWISE_TAPS = 9
"""XNNPACK computes a kernel of 75 taps and 512 channels twice as fast in pieces of 9 as of 25, and whole far slower."""

_NO_ACTIVATION = schema.ActivationFunctionType.NONE
_FUSED = {
    "relu": schema.ActivationFunctionType.RELU,
    "hard_tanh": schema.ActivationFunctionType.RELU_N1_TO_1,
}
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805  # Klambauer et al. 2017, arXiv 1706.02515


class Layers:
    """Adds layers to a graph.

    Args:
        quantize: "none", "float16", "int8-dynamic" or "int8-static": of the layers that ask for it.
        activations: of the float32 model, by the names of its tensors, for "int8-static".
    """

    def __init__(self, quantize: str = "none", activations: Mapping[str, Activation] | None = None):
        self.graph = FlatBufferModel()
        self.quantize = quantize
        self.activations = activations or {}
        self.measured: list[int] = []  # inputs and outputs of layers that may be less precise
        self._as: dict[tuple[int, str], int] = {}

    # ------------------------------------------------------------------ precision

    def frames(self, name: str, channels: int, dtype: str = "float32") -> int:
        """A tensor [1,1,T,C]; int8 with the range of its name."""
        if dtype == "float32":
            return self.graph.add_tensor(name, [1, 1, -1, channels])
        found = self.activations[name]
        scale, zero_point = _affine(found.low, found.high)
        return self.graph.add_tensor(f"{name}/int8", [1, 1, -1, channels], "int8", [scale], zero_point)

    def cast(self, x: int, dtype: str) -> int:
        """The tensor in float32 or int8; each once."""
        graph = self.graph
        if graph.dtype(x) == dtype:
            return x
        if (x, dtype) not in self._as:
            if dtype == "int8":
                y = self.frames(graph.name(x), graph.channels(x), "int8")
                graph.add_operator(OP.QUANTIZE, [x], y, schema.QuantizeOptionsT())
            else:
                y = self.frames(graph.name(x).removesuffix("/int8"), graph.channels(x))
                graph.add_operator(OP.DEQUANTIZE, [x], y, schema.DequantizeOptionsT(), version=2)
            self._as[x, dtype], self._as[y, graph.dtype(x)] = y, x
        return self._as[x, dtype]

    def _float_constant(self, name: str, values: np.ndarray, small: bool = False) -> int:
        if not (small and self.quantize == "float16"):
            return self.graph.add_constant(name, values.astype(np.float32))
        half = self.graph.add_constant(f"{name}/float16", values.astype(np.float16))
        whole = self.graph.add_tensor(name, values.shape)
        return self.graph.add_operator(OP.DEQUANTIZE, [half], whole, schema.DequantizeOptionsT(), version=3)

    # ------------------------------------------------------------------ convolutions

    def pad(self, x: int, left: int, right: int, mirrored: bool = False) -> int:
        """Adds frames of zeros, or reflected ones."""
        if not (left or right):
            return x
        amounts = self.graph.add_constant("padding", np.array([[0, 0], [0, 0], [left, right], [0, 0]], np.int32))
        y = self._like(x, "padded")
        if mirrored:
            return self.graph.add_operator(OP.MIRROR_PAD, [x, amounts], y, schema.MirrorPadOptionsT())
        return self.graph.add_operator(
            OP.PAD, [x, amounts], y, schema.PadOptionsT(), version=2 if self.graph.dtype(x) == "int8" else 1
        )

    def cut(self, x: int, start: int, end: int, name: str = "part") -> int:
        """The frames from `start` on (negative: that many before the end), without the last `end`."""
        if not (start or end):
            return x
        bounds = [
            self.graph.add_constant("bound", np.array(bound, np.int32))
            for bound in ([0, 0, start, 0], [0, 0, -end, 0], [1, 1, 1, 1])
        ]
        options = schema.StridedSliceOptionsT()
        options.beginMask, options.endMask = 0b1011, 0b1011 if end else 0b1111
        return self.graph.add_operator(OP.STRIDED_SLICE, [x, *bounds], self._like(x, name), options)

    def convolve(
        self, x: int, convolution: Convolution, name: str, activation: str | None = None, quantized: bool = False
    ) -> int:
        """A convolution with its bias and activation. `quantized`: its weights may be less precise."""
        if convolution.is_depthwise:
            return self.activate(self._depthwise(self.cast(x, "float32"), convolution, name), activation, name)
        convolution = without_groups(convolution)
        channels = convolution.kernel.shape[2]
        bias = np.zeros(channels, np.float32) if convolution.bias is None else convolution.bias
        kind = self.quantize if quantized else "none"
        entry = x
        x = self.cast(x, "int8" if kind == "int8-static" else "float32")
        options = schema.Conv2DOptionsT()
        x, options.padding = self._padded(x, convolution)
        options.strideW, options.strideH = convolution.stride, 1
        options.dilationWFactor, options.dilationHFactor = convolution.dilation, 1
        options.fusedActivationFunction = _FUSED.get(activation or "", _NO_ACTIVATION)
        y, version = self.frames(name, channels, self.graph.dtype(x)), 1
        if kind.startswith("int8"):
            values, scale = quantize_kernel(convolution)
            weights = self.graph.add_constant(f"{name}/kernel", _for_litert(values), scale)
            version = 5
        else:
            weights = self._float_constant(f"{name}/kernel", _for_litert(convolution.kernel), small=quantized)
        if kind == "int8-static":
            version = 3
            of_bias = scale * self._scale(x)
            limit = 2**31 - 1
            rounded = np.clip(np.rint(bias / of_bias), -limit, limit).astype(np.int32)
            biases = self.graph.add_constant(f"{name}/bias", rounded, of_bias)
        else:
            biases = self._float_constant(f"{name}/bias", bias)
        self.graph.add_operator(OP.CONV_2D, [x, weights, biases], y, options, version)
        if quantized:
            self.measured += [entry, y]
        return y if activation in _FUSED else self.activate(y, activation, name)

    def _depthwise(self, x: int, convolution: Convolution, name: str) -> int:
        """The sum of convolutions of at most 9 taps each."""
        taps, dilation = len(convolution.kernel), convolution.dilation
        starts = [*range(0, taps, MOST_DEPTHWISE_TAPS), taps]
        kernel = convolution.kernel.transpose(1, 0, 2)[None]  # [1, 1, k, C]
        channels = kernel.shape[-1]
        padding = schema.Padding.VALID
        if len(starts) == 2:
            x, padding = self._padded(x, convolution)
        else:
            x = self.pad(x, *convolution.padding)
        total = None
        for k, (start, end) in enumerate(zip(starts, starts[1:], strict=False)):
            options = schema.DepthwiseConv2DOptionsT()
            options.padding, options.depthMultiplier = padding, 1
            options.strideW = options.strideH = convolution.stride
            options.dilationWFactor, options.dilationHFactor = dilation, 1
            options.fusedActivationFunction = _NO_ACTIVATION
            weights = self._float_constant(f"{name}/kernel_{k}", kernel[:, :, start:end], small=True)
            bias = convolution.bias if k == 0 and convolution.bias is not None else np.zeros(channels)
            part = self.cut(x, start * dilation, (taps - end) * dilation)
            inputs = [part, weights, self._float_constant(f"{name}/bias_{k}", bias)]
            y = self.frames(f"{name}/{k}" if len(starts) > 2 else name, channels)
            version = 2 if dilation > 1 else 1
            self.graph.add_operator(OP.DEPTHWISE_CONV_2D, inputs, y, options, version)
            name_k, options = f"{name}/sum_{k}", schema.AddOptionsT()
            total = y if total is None else self.binary(OP.ADD, total, y, name_k, options)
        assert total is not None
        return total

    def _padded(self, x: int, convolution: Convolution) -> tuple[int, int]:
        left, right = convolution.padding
        if convolution.keeps_length and left == right:  # inside the convolution, without a copy
            return x, schema.Padding.SAME
        return self.pad(x, left, right), schema.Padding.VALID

    # ------------------------------------------------------------------ element by element

    def activate(self, x: int, activation: str | None, name: str) -> int:
        """By Keras's name, where the operator before has not done it."""
        if activation is None:
            return x
        if activation == "relu":
            return self.unary(OP.RELU, x, f"{name}/relu")
        if activation == "hard_tanh":
            return self.unary(OP.RELU_N1_TO_1, x, f"{name}/hard_tanh")
        x = self.cast(x, "float32")
        if activation == "silu":
            return self.multiply(x, self.unary(OP.LOGISTIC, x, f"{name}/sigmoid"), f"{name}/silu")
        negative = self.unary(OP.ELU, self.binary(OP.MINIMUM, x, 0.0, f"{name}/negative"), f"{name}/elu")
        scaled = self.multiply(negative, _SELU_SCALE * _SELU_ALPHA, f"{name}/scaled")
        positive = self.multiply(self.unary(OP.RELU, x, f"{name}/positive"), _SELU_SCALE, f"{name}/gained")
        return self.add(positive, scaled, f"{name}/selu")

    def unary(self, code: int, x: int, name: str, options: Any = None) -> int:
        x = self.cast(x, "float32")
        return self.graph.add_operator(code, [x], self._like(x, name), options)

    def add(self, x: int, y: int | float | np.ndarray, name: str, activation: str | None = None) -> int:
        """The sum; in int8 where one of them is."""
        version = 1
        if isinstance(y, int) and "int8" in (self.graph.dtype(x), self.graph.dtype(y)):
            x, y, version = self.cast(x, "int8"), self.cast(y, "int8"), 2
        fused = _FUSED.get(activation or "", _NO_ACTIVATION)
        total = self.binary(OP.ADD, x, y, name, schema.AddOptionsT(), fused, version)
        if isinstance(y, int):
            self.measured += [x, y, total]
        return total

    def multiply(self, x: int, y: int | float | np.ndarray, name: str) -> int:
        return self.binary(OP.MUL, self.cast(x, "float32"), y, name, schema.MulOptionsT())

    def binary(
        self,
        code: int,
        x: int,
        y: int | float | np.ndarray,
        name: str,
        options: Any = None,
        fused: int = _NO_ACTIVATION,
        version: int = 1,
    ) -> int:
        """An operator of x and a tensor, a number, or an array [C]; broadcast over frames."""
        if not isinstance(y, int):
            y = self.graph.add_constant(f"{name}/constant", np.atleast_1d(y).astype(np.float32).reshape(1, 1, 1, -1))
        if options is not None:
            options.fusedActivationFunction = fused
        channels = max(self.graph.channels(x), self.graph.channels(y))
        out = self.frames(name, channels, self.graph.dtype(x))
        return self.graph.add_operator(code, [x, y], out, options, version)

    def reduce(self, code: int, x: int, axes: Sequence[int], name: str) -> int:
        """The mean or the sum over some axes, which stay with length 1."""
        x, options = self.cast(x, "float32"), schema.ReducerOptionsT()
        options.keepDims = True
        shape = [1, 1, 1, 1 if 3 in axes else self.graph.channels(x)]
        over = self.graph.add_constant("axes", np.array(axes, np.int32))
        return self.graph.add_operator(code, [x, over], self.graph.add_tensor(name, shape), options)

    def first_frame(self, x: int, channels: int) -> int:
        """[1,1,1,channels]: the first ones of the first frame."""
        bounds = [
            self.graph.add_constant("bound", np.array(bound, np.int32)) for bound in ([0] * 4, [1, 1, 1, channels])
        ]
        y = self.graph.add_tensor("first", [1, 1, 1, channels])
        return self.graph.add_operator(OP.SLICE, [x, *bounds], y, schema.SliceOptionsT())

    def reshape(self, x: int, shape: Sequence[int], name: str) -> int:
        options = schema.ReshapeOptionsT()
        options.newShape = list(shape)
        wanted = self.graph.add_constant(f"{name}/shape", np.array(shape, np.int32))
        return self.graph.add_operator(OP.RESHAPE, [x, wanted], self.graph.add_tensor(name, shape), options)

    def _like(self, x: int, name: str) -> int:
        """A tensor [1,1,T,C] of the type and scale of `x`."""
        dtype = self.graph.dtype(x)
        if dtype == "float32":
            return self.graph.add_tensor(name, [1, 1, -1, self.graph.channels(x)])
        scale, zero_point = self.graph.affine(x)
        return self.graph.add_tensor(name, [1, 1, -1, self.graph.channels(x)], dtype, [scale], zero_point)

    def _scale(self, x: int) -> float:
        return self.graph.affine(x)[0]


def _for_litert(kernel: np.ndarray) -> np.ndarray:
    """[k, C_in, C_out] -> [C_out, 1, k, C_in]."""
    return np.ascontiguousarray(kernel.transpose(2, 0, 1)[:, None])


def _affine(low: float, high: float) -> tuple[float, int]:
    """Scale and zero point of int8 for a range; 0 is exact."""
    low, high = min(low, 0.0), max(high, 0.0)
    scale = max(high - low, 1e-6) / 255
    return scale, int(np.clip(np.rint(-128 - low / scale), -128, 127))


def without_groups(convolution: Convolution) -> Convolution:
    """The same convolution of all channels: where they are convolved in groups, with zeros between them."""
    kernel, groups = convolution.kernel, convolution.groups
    if groups == 1:
        return convolution
    width, inputs, outputs = kernel.shape
    dense = np.zeros((width, inputs * groups, outputs), np.float32)
    for k in range(groups):
        into = slice(outputs // groups * k, outputs // groups * (k + 1))
        dense[:, inputs * k : inputs * (k + 1), into] = kernel[:, :, into]
    return replace(convolution, kernel=dense, groups=1)
