"""The messages of TensorFlow Serving's `PredictionService.Predict`.

They are described here: the classes of tensorflow-serving-api import all of TensorFlow, 3 s of processor time for a
client that starts in 0.15 s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PREDICT = "/tensorflow.serving.PredictionService/Predict"

# Name, number and type of the fields that are used here; "*": any number of values, "map": by name. Sources:
# tensor.proto and tensor_shape.proto of tensorflow/core/framework, model.proto and predict.proto of
# tensorflow_serving/apis, google/protobuf/wrappers.proto.
_MESSAGES = {
    "Dim": "size 1 int64",
    "Shape": "dim 2 *Dim",
    "Tensor": "dtype 1 int32, tensor_shape 2 Shape, tensor_content 4 bytes, float_val 5 *float, double_val 6 *double, "
    "int_val 7 *int32, string_val 8 *bytes, int64_val 10 *int64, bool_val 11 *bool",
    "Version": "value 1 int64",
    "Model": "name 1 string, version 2 Version, signature_name 3 string",
    "Request": "model_spec 1 Model, inputs 2 map",
    "Response": "outputs 1 map",
}


def _describe(message: Any, fields: str) -> None:
    for text in fields.split(", "):
        name, number, kind = text.split()
        field = message.field.add(name=name, number=int(number), label=FieldDescriptorProto.LABEL_OPTIONAL)
        if kind == "map":
            # How the compiler of Protocol Buffers writes map<string, Tensor>.
            entry = message.nested_type.add(name=f"{name.title()}Entry")
            entry.options.map_entry = True
            _describe(entry, "key 1 string, value 2 Tensor")
            kind = f"*{message.name}.{entry.name}"
        if kind.startswith("*"):
            field.label = FieldDescriptorProto.LABEL_REPEATED
        kind = kind.removeprefix("*")
        if kind.islower():
            field.type = getattr(FieldDescriptorProto, f"TYPE_{kind.upper()}")
        else:
            field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".predict.{kind}"


def _classes() -> tuple[Any, Any]:
    file = FileDescriptorProto(name="predict.proto", package="predict", syntax="proto3")
    for name, fields in _MESSAGES.items():
        _describe(file.message_type.add(name=name), fields)
    # A pool of its own: TensorFlow's may hold the official messages.
    pool = DescriptorPool()
    pool.Add(file)
    request, response = (pool.FindMessageTypeByName(f"predict.{kind}") for kind in ("Request", "Response"))
    return GetMessageClass(request), GetMessageClass(response)


PredictRequest, PredictResponse = _classes()

# TensorFlow's DataType (tensorflow/core/framework/types.proto) of the signatures: field of TensorProto, NumPy type.
_FIELDS: dict[int, tuple[str, Any]] = {
    1: ("float_val", np.float32),
    2: ("double_val", np.float64),
    3: ("int_val", np.int32),
    7: ("string_val", object),
    9: ("int64_val", np.int64),
    10: ("bool_val", np.bool_),
}
_NUMBERS = {np.dtype(kind): number for number, (_, kind) in _FIELDS.items()}


def array_to_tensor(array: np.ndarray, tensor: Any) -> None:
    """Writes an array, of numbers or of bytes (dtype object), to the TensorProto `tensor`, as TensorFlow does."""
    tensor.dtype = _NUMBERS[array.dtype]
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
    if array.dtype == object:
        tensor.string_val.extend(array.ravel())
        return
    tensor.tensor_content = np.ascontiguousarray(array).astype(array.dtype.newbyteorder("<"), copy=False).tobytes()


def tensor_to_array(tensor: Any) -> np.ndarray:
    """Converts a TensorProto to an array (of bytes for strings), like `tf.make_ndarray`.

    Raises:
        ValueError: its type is not one of the signatures', or it has fewer values than its shape.
    """
    if tensor.dtype not in _FIELDS:
        raise ValueError(f"a tensor of TensorFlow's type {tensor.dtype}")
    field, kind = _FIELDS[tensor.dtype]
    shape = tuple(dim.size for dim in tensor.tensor_shape.dim)
    size = int(np.prod(shape, dtype=np.int64))
    if tensor.tensor_content and kind is not object:
        little = np.dtype(kind).newbyteorder("<")
        return np.frombuffer(tensor.tensor_content, little).astype(kind).reshape(shape)
    values = list(getattr(tensor, field))
    if values and len(values) < size:
        # TensorFlow omits repetitions of the last value.
        values += [values[-1]] * (size - len(values))
    array = np.empty(len(values), kind)
    array[:] = values
    return array.reshape(shape)
