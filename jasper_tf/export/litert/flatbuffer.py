"""Writes a LiteRT model file: tensors and builtin operators as a FlatBuffer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import flatbuffers
import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from jasper_tf.errors import UserError

OP = schema.BuiltinOperator

_TYPES = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int32": schema.TensorType.INT32,
    "int8": schema.TensorType.INT8,
    "bool": schema.TensorType.BOOL,
}
_SCHEMA_VERSION = 3
_IDENTIFIER = b"TFL3"
_MOST_BYTES = 2**31 - 1


class FlatBufferModel:
    """A graph. A tensor is its number.

    A length -1 in a shape is known when the program gives its audio.
    """

    def __init__(self) -> None:
        self._tensors: list[Any] = []
        self._dtypes: list[str] = []
        self._buffers = [schema.BufferT()]  # the first is that of tensors without a value
        self._codes: list[tuple[int, int]] = []
        self._operators: list[Any] = []

    def dtype(self, tensor: int) -> str:
        return self._dtypes[tensor]

    def name(self, tensor: int) -> str:
        return self._tensors[tensor].name

    def channels(self, tensor: int) -> int:
        """The last length of its shape."""
        return self._tensors[tensor].shape[-1]

    def affine(self, tensor: int) -> tuple[float, int]:
        """Scale and zero point of an int8 tensor."""
        quantization = self._tensors[tensor].quantization
        return float(quantization.scale[0]), int(quantization.zeroPoint[0])

    def add_tensor(
        self,
        name: str,
        shape: Sequence[int],
        dtype: str = "float32",
        scale: Sequence[float] | np.ndarray | None = None,
        zero_point: int = 0,
        axis: int = 0,
    ) -> int:
        """Adds a tensor without a value. Several scales are those of the places along `axis`."""
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.buffer = name, _TYPES[dtype], 0
        tensor.shape = [max(length, 1) for length in shape]
        if min(shape, default=1) < 0:
            tensor.shapeSignature = list(shape)
        tensor.hasRank = True
        if scale is not None:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = np.asarray(scale, np.float32)
            tensor.quantization.zeroPoint = np.full(len(scale), zero_point, np.int64)
            tensor.quantization.quantizedDimension = axis
        self._tensors.append(tensor)
        self._dtypes.append(dtype)
        return len(self._tensors) - 1

    def add_constant(self, name: str, values: Any, scale: np.ndarray | None = None, axis: int = 0) -> int:
        """Adds an array in its own type."""
        values = np.ascontiguousarray(values)
        number = self.add_tensor(name, values.shape, values.dtype.name, scale, axis=axis)
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(values.astype(values.dtype.newbyteorder("<")).tobytes(), np.uint8)
        self._buffers.append(buffer)
        self._tensors[number].buffer = len(self._buffers) - 1
        return number

    def add_operator(self, code: int, inputs: Sequence[int], output: int, options: Any = None, version: int = 1) -> int:
        """Adds an operator; returns `output`."""
        if (code, version) not in self._codes:
            self._codes.append((code, version))
        operator = schema.OperatorT()
        operator.opcodeIndex = self._codes.index((code, version))
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            operator.builtinOptions = options
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, type(options).__name__.removesuffix("T"))
        self._operators.append(operator)
        return output

    def to_bytes(self, inputs: Sequence[int], outputs: Sequence[int]) -> bytes:
        """The file, with the signature "serving_default" of these tensors.

        Raises:
            UserError: it is larger than a FlatBuffer may be.
        """
        if sum(len(buffer.data) for buffer in self._buffers[1:]) > _MOST_BYTES:
            raise UserError("the model is above 2 GB, the most that a .tflite may have; quantize it")
        graph = schema.SubGraphT()
        graph.name, graph.tensors, graph.operators = "main", self._tensors, self._operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        signature = schema.SignatureDefT()
        signature.signatureKey, signature.subgraphIndex = "serving_default", 0
        signature.inputs, signature.outputs = [*map(self._map, inputs)], [*map(self._map, outputs)]
        model = schema.ModelT()
        model.version, model.description = _SCHEMA_VERSION, "jasper-tf: raw audio to CTC log-probabilities"
        model.operatorCodes = [_operator_code(code, version) for code, version in self._codes]
        model.subgraphs, model.buffers, model.signatureDefs = [graph], self._buffers, [signature]
        builder = flatbuffers.Builder(1 << 20)
        builder.Finish(model.Pack(builder), file_identifier=_IDENTIFIER)
        return bytes(builder.Output())

    def _map(self, tensor: int) -> Any:
        entry = schema.TensorMapT()
        entry.name, entry.tensorIndex = self.name(tensor), tensor
        return entry


def _operator_code(code: int, version: int) -> Any:
    entry = schema.OperatorCodeT()
    entry.builtinCode, entry.version = code, version
    entry.deprecatedBuiltinCode = min(code, 127)  # as the schema asks for, for old readers
    return entry
