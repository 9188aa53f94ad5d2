"""The ONNX model that steps through live audio."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from jasper_tf.export.edge.graph_integers import GraphIntegers, Integer
from jasper_tf.export.edge.network import Convolution, Network
from jasper_tf.export.onnx.encoder import EncoderWriter, Frames, Precision
from jasper_tf.export.onnx.front_end import add_energies, add_fixed_normalization, splice
from jasper_tf.export.onnx.graph import Graph, size
from jasper_tf.export.onnx.int8 import dequantize
from jasper_tf.model.streaming.chunk import Window, is_inside
from jasper_tf.model.streaming.stream_clock import COLUMNS
from jasper_tf.model.streaming.streaming_model import StreamingModel

_OUTPUTS = ("log_probs", "log_probs_len", "next_state")
_TIME = 3
_END = 2**31 - 1

_KINDS = {
    "add": "Add",
    "subtract": "Sub",
    "multiply": "Mul",
    "divide": "Div",
    "remainder": "Mod",
    "less": "Less",
    "greater": "Greater",
    "greater_equal": "GreaterOrEqual",
    "where": "Where",
    "minimum": "Min",
    "maximum": "Max",
    "logical_and": "And",
    "logical_or": "Or",
}


def make_onnx_stream(network: Network, streaming: StreamingModel, precision: Precision = None) -> onnx.ModelProto:
    """Makes the model of `StreamingModel.step`.

    `chunk` [B,S] float32, S a multiple of `frame_samples`, `chunk_len` [B] int32, `state` [B,N] float32
    -> `log_probs` [B,T',V+1], `log_probs_len` [B] int32, `next_state` [B,N].

    Args:
        network: of `read_network`.
        streaming: of the same model.
        precision: of the encoder, see `EncoderWriter`.
    """
    graph = Graph()
    for old, new in zip(_StreamWriter(graph, network, streaming, precision).step(), _OUTPUTS, strict=True):
        graph.rename(old, new)
    width = streaming.state_size
    return graph.to_model(
        [
            ("chunk", TensorProto.FLOAT, ["B", "S"]),
            ("chunk_len", TensorProto.INT32, ["B"]),
            ("state", TensorProto.FLOAT, ["B", width]),
        ],
        [
            ("log_probs", TensorProto.FLOAT, ["B", "T", network.head.kernel.shape[2]]),
            ("log_probs_len", TensorProto.INT32, ["B"]),
            ("next_state", TensorProto.FLOAT, ["B", width]),
        ],
        {},
    )


class _OnnxIntegers(GraphIntegers):
    """Tensors [B,1,1,T]; T may be 1."""

    def __init__(self, graph: Graph):
        self._graph = graph

    def add(self, kind: str, tensors: list[Any]) -> str:
        return self._graph.op(_KINDS[kind], *tensors)

    def constant(self, value: int) -> str:
        return self._graph.const(value, np.int32)


class _StreamWriter(EncoderWriter):
    """Adds a step to a graph: what a layer's padding is in whole recordings, comes from the state.

    Of its `Frames`, `length` is [B,1,1,1], and `frames` has no meaning.
    """

    def __init__(self, graph: Graph, network: Network, streaming: StreamingModel, precision: Precision):
        super().__init__(graph, network, precision)
        self._clock = streaming.clock
        self._windows = list(reversed(streaming.windows))
        self._read, self._kept = COLUMNS, list[str]()
        self._integers = _OnnxIntegers(graph)
        self._places: dict[int, Integer] = {}
        self._is_inside: dict[tuple[int, int, str], str] = {}
        columns = [graph.op("Slice", "state", graph.ints(k), graph.ints(k + 1), graph.ints(1)) for k in range(COLUMNS)]
        self._columns = tuple(self._integer(graph.op("Unsqueeze", column, graph.ints(2, 3))) for column in columns)
        self._samples = Integer(self._integers, size(graph, "chunk", 1))
        self._frames = self._samples // self._clock.frame_samples

    def step(self) -> tuple[str, str, str]:
        """Adds all of it; returns log_probs, log_probs_len and the next state."""
        graph, clock, integers = self._graph, self._clock, self._integers
        audio_len = self._integer(graph.op("Unsqueeze", "chunk_len", graph.ints(1, 2, 3)))
        end, ended = clock.end(self._columns, self._samples, audio_len, integers)
        with graph.scope("front_end"):
            features = self._features(graph.op("Unsqueeze", "chunk", graph.ints(1, 2)), end)
        found = self.add(features)
        # Valid frames to the left.
        order = clock.order(self._columns[0], self._places_of(1), self._frames, integers)
        order = graph.op("Transpose", graph.op("Squeeze", order.tensor, graph.ints(1)), perm=[0, 2, 1])
        log_probs = graph.op("GatherND", found.x, graph.op("Cast", order, to=TensorProto.INT64), batch_dims=1)
        inside = graph.op("Cast", self._inside(1, clock.delay_frames, found.length), to=TensorProto.INT32)
        count = graph.op("ReduceSum", inside, graph.ints(1, 2, _TIME), keepdims=0)
        columns = clock.next(self._columns[0], self._frames, end, ended, integers)
        own = [graph.op("Cast", column.tensor, to=TensorProto.FLOAT) for column in columns]
        own = [graph.op("Squeeze", column, graph.ints(2, _TIME)) for column in own]
        return log_probs, count, graph.op("Concat", *own, *self._kept, axis=1)

    def _features(self, x: str, end: Integer) -> Frames:
        """Samples [B,1,1,S] -> features."""
        graph, front = self._graph, self._network.front_end
        inside = self._inside(self._clock.frame_samples, 0, end.tensor)
        x = graph.op("Where", inside, x, graph.const(0.0, np.float32))  # not a product: padding may be NaN
        both = self._remember(Frames(x, end.tensor, False, ""), 1, 1).x
        if front.preemph is not None:
            before = self._cut(both, 0, 1)
            x = graph.op("Sub", x, graph.op("Mul", before, graph.const(front.preemph, np.float32)), name="preemphasis")
        audio = self._take(self._mask(Frames(x, end.tensor, False, "")), 1)
        length = front.framing.frames(end, self._integers)
        y = Frames(add_energies(graph, front, audio.x), length.tensor, False, "")
        if front.splicing > 1:
            wide = splice(graph, self._take(self._mask(y), front.mel.shape[1]).x, front.splicing)
            y = replace(y, x=self._cut(wide, 0, front.splicing - 1))
        return replace(y, x=add_fixed_normalization(graph, front, y.x))

    def _convolve(self, y: Frames, convolution: Convolution, name: str, precision: Precision) -> Frames:
        if self._windows:  # none for the head
            y = self._take(y, convolution.kernel.shape[1] * convolution.groups)
        x = self._operate(y, replace(convolution, padding=(0, 0)), name, precision)
        return Frames(x, y.length, is_zero=False, frames="")

    def _valid(self, y: Frames) -> str:
        window = self._windows[-1]
        return self._inside(window.rate, window.delay, y.length)

    def _inside(self, rate: int, delay: int, length: str) -> str:
        """[B,1,1,n] bool: the frames of a chunk that are in their streams."""
        key = rate, delay, length
        if key not in self._is_inside:
            position, end = self._columns[0], Integer(self._integers, length)
            places = self._places_of(rate)
            self._is_inside[key] = is_inside(places, position, rate, delay, end, self._integers).tensor
        return self._is_inside[key]

    def _places_of(self, rate: int) -> Integer:
        """[n]: 0, 1, ... of the frames of a chunk."""
        if rate not in self._places:
            zero, one = (self._graph.const(value, np.int32) for value in (0, 1))
            places = self._graph.op("Range", zero, (self._frames * rate).tensor, one)
            self._places[rate] = Integer(self._integers, places)
        return self._places[rate]

    def _take(self, y: Frames, channels: int) -> Frames:
        """What the next layer reads."""
        window: Window = self._windows.pop()
        y = self._remember(y, window.past, channels)
        if not (window.skipped or window.unread):
            return y
        if y.quantized is None:
            return replace(y, x=self._cut(y.x, window.skipped, window.unread))
        quantized = replace(y.quantized, q=self._cut(y.quantized.q, window.skipped, window.unread))
        return replace(y, x=dequantize(self._graph, quantized), quantized=quantized)

    def _remember(self, y: Frames, past: int, channels: int) -> Frames:
        """Puts the last frames of the steps before in front: [B,C,1,n] -> [B,C,1,past + n]."""
        graph = self._graph
        if not past:
            return y
        begin, self._read = self._read, self._read + past * channels
        before = graph.op("Slice", "state", graph.ints(begin), graph.ints(self._read), graph.ints(1))
        before = graph.op("Reshape", before, graph.ints(0, channels, 1, past))
        quantized = y.quantized
        if quantized is None:
            x = last = graph.op("Concat", before, y.x, axis=_TIME)
        else:
            before = graph.op("QuantizeLinear", before, quantized.scale, quantized.zero_point)
            quantized = replace(quantized, q=graph.op("Concat", before, quantized.q, axis=_TIME))
            x, last = dequantize(graph, quantized), quantized.q
        last = graph.op("Slice", last, graph.ints(-past), graph.ints(_END), graph.ints(_TIME))
        if quantized is not None:
            last = dequantize(graph, replace(quantized, q=last))
        self._kept.append(graph.op("Reshape", last, graph.ints(0, past * channels)))
        return replace(y, x=x, quantized=quantized)

    def _cut(self, x: str, start: int, end: int) -> str:
        """The frames from `start` on, without the last `end`."""
        graph = self._graph
        return graph.op("Slice", x, graph.ints(start), graph.ints(-end or _END), graph.ints(_TIME))

    def _integer(self, x: str) -> Integer:
        return Integer(self._integers, self._graph.op("Cast", x, to=TensorProto.INT32))
