"""Collects the nodes and weights of an ONNX graph."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8

Value = tuple[str, int, Sequence[int | str]]
"""An input or output: name, element type of `onnx.TensorProto`, shape."""


class Graph:
    """An ONNX graph in the making. Nodes are named by their scope, as layers are: `encoder/block_3/conv_1`."""

    def __init__(self) -> None:
        self._nodes: list[onnx.NodeProto] = []
        self._weights: dict[str, onnx.TensorProto] = {}
        self._small: dict[tuple[Any, ...], str] = {}
        self._names: set[str] = set()
        self._scope: tuple[str, ...] = ()

    @contextmanager
    def scope(self, name: str) -> Iterator[None]:
        """Names the nodes of a block `name/...`."""
        self._scope = (*self._scope, name)
        yield
        self._scope = self._scope[:-1]

    def op(self, kind: str, *inputs: str, name: str | None = None, **attributes: Any) -> str:
        """Adds a node and returns the name of its output."""
        return self.ops(kind, *inputs, name=name, outputs=1, **attributes)[0]

    def ops(self, kind: str, *inputs: str, outputs: int, name: str | None = None, **attributes: Any) -> list[str]:
        """Adds a node of several outputs and returns their names."""
        node = self._unique(name or kind.lower())
        values = [node if outputs == 1 else f"{node}_{number}" for number in range(outputs)]
        self._nodes.append(helper.make_node(kind, list(inputs), values, name=node, **attributes))
        return values

    def weight(self, array: np.ndarray, name: str = "weight") -> str:
        """Adds an array and returns its name."""
        unique = self._unique(name)
        self._weights[unique] = numpy_helper.from_array(np.ascontiguousarray(array), unique)
        return unique

    def const(self, value: Any, dtype: Any) -> str:
        """Returns the name of a small array; equal ones are stored once."""
        array = np.array(value, dtype)
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._small:
            name = self._small[key] = f"const_{len(self._small)}"
            self._weights[name] = numpy_helper.from_array(array, name)
        return self._small[key]

    def ints(self, *values: int) -> str:
        """Returns the name of a vector of int64: axes, pads, shapes."""
        return self.const(list(values), np.int64)

    def rename(self, old: str, new: str) -> None:
        """Gives the output of a node its public name."""
        for node in self._nodes:
            for names in (node.input, node.output):
                for place, name in enumerate(names):
                    if name == old:
                        names[place] = new

    def to_model(self, inputs: Sequence[Value], outputs: Sequence[Value], metadata: dict[str, str]) -> onnx.ModelProto:
        """Returns the finished model."""
        given, found = ([helper.make_tensor_value_info(*value) for value in side] for side in (inputs, outputs))
        graph = helper.make_graph(self._nodes, "jasper", given, found, initializer=list(self._weights.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="jasper_tf")
        model.ir_version = IR_VERSION
        helper.set_model_props(model, metadata)
        return model

    def _unique(self, name: str) -> str:
        base = "/".join((*self._scope, name))
        unique, count = base, 1
        while unique in self._names:
            unique, count = f"{base}_{count}", count + 1
        self._names.add(unique)
        return unique


def valid(graph: Graph, length: str, frames: str, axes: Sequence[int]) -> str:
    """Adds the mask of the first `length` [B] int32 of `frames` (int32) places: bool, B in front, ones at `axes`."""
    places = graph.op("Range", graph.const(0, np.int32), frames, graph.const(1, np.int32))
    return graph.op("Less", places, graph.op("Unsqueeze", length, graph.ints(*axes)), name="valid")


def size(graph: Graph, x: str, axis: int) -> str:
    """Adds the size of an axis, an int32 without axes."""
    shape = graph.op("Shape", x, start=axis, end=axis + 1)
    return graph.op("Cast", graph.op("Squeeze", shape, graph.ints(0)), to=TensorProto.INT32)
