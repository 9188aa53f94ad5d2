"""The messages of tensorflow-serving-api, without importing TensorFlow, which takes seconds."""

from __future__ import annotations

import functools
import importlib.util
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np

from jasper_tf.errors import UserError

INSTALL = "pip install 'jasper-tf[serving]'"

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


@functools.cache
def prediction_api() -> SimpleNamespace:
    """`grpc`, `predict_pb2` and `prediction_service_pb2_grpc`.

    The messages are plain protocol buffers, but they import `tensorflow.core...`, and with it TensorFlow: seconds
    instead of tenths. An empty package with the same path replaces it while they are imported.

    Raises:
        UserError: tensorflow-serving-api is not installed.
    """
    stand_in = _stand_in_for_tensorflow()
    try:
        import grpc
        from tensorflow_serving.apis import predict_pb2, prediction_service_pb2_grpc
    except ImportError as error:
        raise UserError(f"the gRPC client needs tensorflow-serving-api ({error}): {INSTALL}, or use --rest") from None
    finally:
        if stand_in is not None and sys.modules.get("tensorflow") is stand_in:
            del sys.modules["tensorflow"]
    return SimpleNamespace(grpc=grpc, predict_pb2=predict_pb2, prediction_service_pb2_grpc=prediction_service_pb2_grpc)


def _stand_in_for_tensorflow() -> ModuleType | None:
    if "tensorflow" in sys.modules:
        return None
    found = importlib.util.find_spec("tensorflow")
    if found is None or found.submodule_search_locations is None:
        return None
    module = ModuleType("tensorflow")
    module.__path__ = list(found.submodule_search_locations)
    sys.modules["tensorflow"] = module
    return module


def array_to_tensor(array: np.ndarray, tensor: Any) -> None:
    """Writes a numeric array to the TensorProto `tensor`, little-endian like TensorFlow."""
    tensor.dtype = _NUMBERS[array.dtype]
    for size in array.shape:
        tensor.tensor_shape.dim.add().size = size
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
