"""Builds the LiteRT graph that steps through live audio, of one stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from jasper_tf.export.edge.graph_integers import GraphIntegers, Integer
from jasper_tf.export.edge.network import Convolution, Network
from jasper_tf.export.litert.activations import Activation
from jasper_tf.export.litert.flatbuffer import OP, FlatBufferModel
from jasper_tf.export.litert.graph import (
    add_block,
    add_energies,
    add_normalization,
    dft_convolution,
    preemphasis_convolution,
    splicing_convolution,
)
from jasper_tf.export.litert.layers import Layers
from jasper_tf.model.streaming.chunk import is_inside
from jasper_tf.model.streaming.stream_clock import COLUMNS
from jasper_tf.model.streaming.streaming_model import StreamingModel

_TIME = 2
_KINDS = {
    "add": (OP.ADD, schema.AddOptionsT),
    "subtract": (OP.SUB, schema.SubOptionsT),
    "multiply": (OP.MUL, schema.MulOptionsT),
    "divide": (OP.FLOOR_DIV, schema.FloorDivOptionsT),
    "remainder": (OP.FLOOR_MOD, schema.FloorModOptionsT),
    "less": (OP.LESS, schema.LessOptionsT),
    "greater": (OP.GREATER, schema.GreaterOptionsT),
    "greater_equal": (OP.GREATER_EQUAL, schema.GreaterEqualOptionsT),
    "where": (OP.SELECT_V2, schema.SelectV2OptionsT),
    "minimum": (OP.MINIMUM, schema.MaximumMinimumOptionsT),
    "maximum": (OP.MAXIMUM, schema.MaximumMinimumOptionsT),
    "logical_and": (OP.LOGICAL_AND, schema.LogicalAndOptionsT),
    "logical_or": (OP.LOGICAL_OR, schema.LogicalOrOptionsT),
}
_BOOLEAN = ("less", "greater", "greater_equal", "logical_and", "logical_or")


def build_litert_stream(
    network: Network,
    streaming: StreamingModel,
    quantize: str = "none",
    activations: Mapping[str, Activation] | None = None,
) -> bytes:
    """Returns the content of a `.tflite` of `StreamingModel.step` for one stream.

    `chunk` [1,S] float32, S a multiple of `frame_samples`, `chunk_len` [1] int32, `state` [1,N] float32
    -> `log_probs` [1,T',V+1], `log_probs_len` [1] int32, `next_state` [1,N].

    Args:
        network: of `read_network`.
        streaming: of the same model.
        quantize, activations: as of `build_litert`.
    """
    return _StreamLayers(quantize, activations, network, streaming).build()


class _LiteRTIntegers(GraphIntegers):
    """Tensors [1,1,T,1]; T may be 1."""

    def __init__(self, graph: FlatBufferModel):
        self._graph = graph

    def add(self, kind: str, tensors: list[Any]) -> int:
        code, options = _KINDS[kind]
        output = self._graph.add_tensor(kind, [1, 1, -1, 1], "bool" if kind in _BOOLEAN else "int32")
        return self._graph.add_operator(code, tensors, output, options())

    def constant(self, value: int) -> int:
        return self._graph.add_constant("integer", np.full((1, 1, 1, 1), value, np.int32))


class _StreamLayers(Layers):
    """Adds a step to a graph: what a layer's padding is in whole recordings, comes from the state."""

    def __init__(
        self, quantize: str, activations: Mapping[str, Activation] | None, network: Network, streaming: StreamingModel
    ):
        super().__init__(quantize, activations)
        graph = self.graph
        self._network, self._clock = network, streaming.clock
        self._windows = list(reversed(streaming.windows))
        self._chunk = graph.add_tensor("chunk", [1, -1])
        self._chunk_len = graph.add_tensor("chunk_len", [1], "int32")
        self._state = graph.add_tensor("state", [1, streaming.state_size])
        self._read, self._kept = 0, list[int]()
        self._integers = _LiteRTIntegers(graph)
        self._is_inside: dict[tuple[int, int, int], int] = {}

    def build(self) -> bytes:
        """Adds all of it."""
        graph, clock, integers = self.graph, self._clock, self._integers
        columns = tuple(self._integer(self._next_state(1)) for _ in range(COLUMNS))
        self._position = columns[0]
        samples = self.reshape(self._chunk, [1, 1, -1, 1], "samples")
        self._places = {clock.frame_samples: self._count(samples)}
        size = Integer(integers, self._every(self._places[clock.frame_samples], -1)) + 1
        audio_len = Integer(integers, self._reshape_integers(self._chunk_len, [1, 1, 1, 1], "length"))
        end, ended = clock.end(columns, size, audio_len, integers)
        self._length = end

        outputs = [self._features(samples)]
        for number, block in enumerate(self._network.blocks):
            outputs.append(add_block(self, block, outputs, f"block_{number}"))
        logits = self.cast(self.convolve(outputs[-1], self._network.head, "head", quantized=True), "float32")
        log_probs = self.unary(OP.LOG_SOFTMAX, logits, "log_softmax", schema.LogSoftmaxOptionsT())

        # Valid frames to the left.
        frames = size // clock.frame_samples
        order = clock.order(self._position, Integer(integers, self._places_of(1)), frames, integers)
        options = schema.GatherOptionsT()
        options.axis = _TIME
        place = self._reshape_integers(order.tensor, [-1], "order")
        log_probs = graph.add_operator(OP.GATHER, [log_probs, place], self._like(log_probs, "ordered"), options)
        log_probs = self.reshape(log_probs, [1, -1, graph.channels(logits)], "log_probs")
        inside = self._convert(self._inside(1, clock.delay_frames), "int32")
        axes = graph.add_constant("axes", np.array([1, _TIME, 3], np.int32))
        count = graph.add_tensor("log_probs_len", [1], "int32")
        graph.add_operator(OP.SUM, [inside, axes], count, schema.ReducerOptionsT())
        own = clock.next(self._position, frames, end, ended, integers)
        kept = [self.reshape(self._convert(column.tensor, "float32"), [1, 1], "column") for column in own]
        state = self._concatenate([*kept, *self._kept], graph.add_tensor("next_state", [1, self._read]), 1)
        return graph.to_bytes([self._chunk, self._chunk_len, self._state], [log_probs, count, state])

    def convolve(
        self, x: int, convolution: Convolution, name: str, activation: str | None = None, quantized: bool = False
    ) -> int:
        if quantized and self._windows:  # a convolution of the encoder
            x, convolution = self._take(x, convolution), replace(convolution, padding=(0, 0))
        return super().convolve(x, convolution, name, activation, quantized)

    def _features(self, samples: int) -> int:
        """Samples [1,1,S,1] -> features [1,1,T,F]."""
        front, graph = self._network.front_end, self.graph
        zero = graph.add_constant("zero", np.zeros((1, 1, 1, 1), np.float32))
        inside = self._inside(self._clock.frame_samples, 0)  # not a product: padding may be NaN
        x = graph.add_operator(
            OP.SELECT_V2, [inside, samples, zero], self._like(samples, "audio"), schema.SelectV2OptionsT()
        )
        both = self._remember(x, 1)
        if front.preemph is not None:
            x = self.convolve(both, preemphasis_convolution(front.preemph, 0), "preemphasis")
        x = self.convolve(self._take(x), dft_convolution(front), "spectrum")
        x = add_energies(self, front, x)
        self._length = front.framing.frames(self._length, self._integers)
        if front.splicing > 1:
            x = self.convolve(self._take(x), splicing_convolution(front, 0), "spliced")
        return add_normalization(self, front, x)

    def _take(self, x: int, convolution: Convolution | None = None) -> int:
        """What the next layer reads; for 8 bits it has the name of `x`."""
        window, name = self._windows.pop(), self.graph.name(x).removesuffix("/int8")
        if convolution is None or convolution.masked:
            mask = self._convert(self._inside(window.rate, window.delay), "float32")
            x = self.multiply(x, mask, name)
        if convolution is not None and not (window.is_branch or convolution.keeps_length):
            self._length = convolution.output_length(self._length)
        x = self._remember(x, window.past)
        if self.quantize == "int8-static" and name in self.activations:
            x = self.cast(x, "int8")
        return self.cut(x, window.skipped, window.unread, name)

    def _remember(self, x: int, past: int) -> int:
        """Puts the last frames of the steps before in front: [1,1,n,C] -> [1,1,past + n,C]."""
        if not past:
            return x
        graph, x = self.graph, self.cast(x, "float32")
        channels = graph.channels(x)
        before = self.reshape(self._next_state(past * channels), [1, 1, past, channels], "before")
        x = self._concatenate([before, x], self._like(x, graph.name(x)), _TIME)
        self._kept.append(self.reshape(self.cut(x, -past, 0), [1, past * channels], "kept"))
        return x

    def _next_state(self, width: int) -> int:
        """[1,width]: the next part of the state."""
        bounds = [
            self.graph.add_constant("bound", np.array(bound, np.int32)) for bound in ([0, self._read], [1, width])
        ]
        self._read += width
        part = self.graph.add_tensor("part", [1, width])
        return self.graph.add_operator(OP.SLICE, [self._state, *bounds], part, schema.SliceOptionsT())

    def _concatenate(self, parts: list[int], output: int, axis: int) -> int:
        options = schema.ConcatenationOptionsT()
        options.axis = axis
        return self.graph.add_operator(OP.CONCATENATION, parts, output, options)

    # ------------------------------------------------------------------ whole numbers

    def _inside(self, rate: int, delay: int) -> int:
        """[1,1,n,1] bool: the frames of a chunk that are in their stream."""
        key = rate, delay, self._length.tensor
        if key not in self._is_inside:
            places = Integer(self._integers, self._places_of(rate))
            inside = is_inside(places, self._position, rate, delay, self._length, self._integers)
            self._is_inside[key] = inside.tensor
        return self._is_inside[key]

    def _places_of(self, rate: int) -> int:
        """[1,1,n,1] int32: 0, 1, ... of the frames of a chunk."""
        samples = self._clock.frame_samples
        if rate not in self._places:
            some = self._every(self._places[samples], 0, samples // rate)
            self._places[rate] = (Integer(self._integers, some) // (samples // rate)).tensor
        return self._places[rate]

    def _count(self, samples: int) -> int:
        """[1,1,S,1] int32: 0, 1, ..., counted in the data: a shape would be a constant in some runtimes."""
        graph = self.graph
        zeros = graph.add_operator(OP.ZEROS_LIKE, [samples], self._like(samples, "zeros"), schema.ZerosLikeOptionsT())
        options = schema.CumsumOptionsT()
        options.exclusive = True
        axis = graph.add_constant("axis", np.array(_TIME, np.int32))
        ones = self.add(zeros, 1.0, "ones")
        counted = graph.add_operator(OP.CUMSUM, [ones, axis], self._like(samples, "counted"), options)
        return self._convert(counted, "int32")

    def _every(self, x: int, start: int, step: int = 1) -> int:
        """Every `step`-th of the frames from `start` on."""
        graph = self.graph
        bounds = [
            graph.add_constant("bound", np.array(bound, np.int32))
            for bound in ([0, 0, start, 0], [0, 0, 0, 0], [1, 1, step, 1])
        ]
        options = schema.StridedSliceOptionsT()
        options.beginMask, options.endMask = 0b1011, 0b1111
        places = graph.add_tensor("places", [1, 1, -1, 1], "int32")
        return graph.add_operator(OP.STRIDED_SLICE, [x, *bounds], places, options)

    def _reshape_integers(self, x: int, shape: list[int], name: str) -> int:
        options = schema.ReshapeOptionsT()
        options.newShape = shape
        wanted = self.graph.add_constant(f"{name}/shape", np.array(shape, np.int32))
        return self.graph.add_operator(OP.RESHAPE, [x, wanted], self.graph.add_tensor(name, shape, "int32"), options)

    def _integer(self, x: int) -> Integer:
        """Of a float [1,1]."""
        return Integer(self._integers, self._convert(self.reshape(x, [1, 1, 1, 1], "column"), "int32"))

    def _convert(self, x: int, dtype: str) -> int:
        """[1,1,T,1] in another type."""
        return self.graph.add_operator(
            OP.CAST, [x], self.graph.add_tensor("cast", [1, 1, -1, 1], dtype), schema.CastOptionsT()
        )
