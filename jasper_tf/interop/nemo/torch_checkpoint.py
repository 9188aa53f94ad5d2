"""PyTorch's checkpoint files without PyTorch: tensors by name, read and written, and no code ever run."""

from __future__ import annotations

import io
import math
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np

from jasper_tf.errors import UserError

# How torch names the storage of a data type.
_STORAGES: dict[str, np.dtype] = {
    "FloatStorage": np.dtype("float32"),
    "DoubleStorage": np.dtype("float64"),
    "HalfStorage": np.dtype("float16"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("int64"),
    "IntStorage": np.dtype("int32"),
    "ShortStorage": np.dtype("int16"),
    "CharStorage": np.dtype("int8"),
    "ByteStorage": np.dtype("uint8"),
    "BoolStorage": np.dtype("bool"),
}
_STORAGE_OF = {dtype: name for name, dtype in _STORAGES.items()}
# What torch.save began with before version 1.6.
_LEGACY_START = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def read_checkpoint(content: bytes, source: str) -> dict[str, np.ndarray]:
    """The tensors of what `torch.save(model.state_dict(), ...)` wrote, as read-only arrays.

    The pickle in it builds an OrderedDict of tensors and knows nothing else: whatever other name it asks for is refused
    before anything is called.

    Args:
        content: a torch zip archive (torch >= 1.6).
        source: the file, for messages.

    Raises:
        UserError: another format, damaged, a tensor that reaches beyond its data, or a pickle that asks for more.
    """
    if content.startswith(_LEGACY_START):
        raise UserError(
            f"{source}: written by torch older than 1.6; in torch, `torch.save(torch.load(FILE), FILE)` makes a new one"
        )
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as records:
            return _read_records(records, len(content), source)
    except UserError:
        raise
    except (zipfile.BadZipFile, EOFError, NotImplementedError, struct.error, OSError) as error:
        raise UserError(f"{source}: no torch checkpoint, cut off or damaged ({error}); get the file again") from None
    except (pickle.UnpicklingError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError) as error:
        raise UserError(f"{source}: its pickle is no list of tensors ({_one_line(error)})") from None
    except (RecursionError, MemoryError) as error:
        raise UserError(f"{source}: its pickle is made to do harm ({type(error).__name__})") from None


def write_checkpoint(tensors: Mapping[str, np.ndarray]) -> bytes:
    """A torch zip archive that `torch.load(..., weights_only=True)` reads as an OrderedDict of CPU tensors.

    The same tensors give the same bytes.
    """
    file, order = io.BytesIO(), {name: np.asarray(array, order="C") for name, array in tensors.items()}
    with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as records:

        def add(name: str, content: bytes) -> None:
            records.writestr(zipfile.ZipInfo(f"archive/{name}"), content)  # without the time of day

        add("data.pkl", _pickled(order))
        add("byteorder", b"little")
        for key, array in enumerate(order.values()):
            add(f"data/{key}", array.astype(array.dtype.newbyteorder("<")).tobytes())
        add("version", b"3\n")
    return file.getvalue()


# ---------------------------------------------------------------------- reading


def _read_records(records: zipfile.ZipFile, size: int, source: str) -> dict[str, np.ndarray]:
    entries = {entry.filename: entry for entry in records.infolist()}
    if len(entries) != len(records.infolist()):
        raise UserError(f"{source}: holds one record twice; do not trust this file")
    for entry in entries.values():
        # torch stores without compression; then all records together cannot be larger than the file.
        if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
            raise UserError(
                f"{source}: record {entry.filename!r} is compressed, torch's are not; do not trust this file"
            )
    declared = sum(entry.file_size for entry in entries.values())
    if declared > size:
        raise UserError(f"{source}: its records declare {declared} bytes, the file has {size}; do not trust this file")
    roots = [name.removesuffix("/data.pkl") for name in entries if name.endswith("/data.pkl") and name.count("/") == 1]
    if len(roots) != 1:
        raise UserError(f"{source}: no torch checkpoint: needs one data.pkl, has {len(roots)}")
    (root,) = roots
    order = records.read(f"{root}/byteorder") if f"{root}/byteorder" in entries else b"little"
    if order not in (b"little", b"big"):
        raise UserError(f"{source}: byte order {order[:20]!r} is neither little nor big")

    def data(key: str, dtype: np.dtype, count: int) -> np.ndarray:
        name = f"{root}/data/{key}"
        if name not in entries:
            raise UserError(f"{source}: has no record {name!r} that its pickle asks for; cut off?")
        if entries[name].file_size != count * dtype.itemsize:
            raise UserError(
                f"{source}: record {name!r} has {entries[name].file_size} bytes, "
                f"its pickle says {count} x {dtype.itemsize}; damaged?"
            )
        return np.frombuffer(records.read(name), dtype.newbyteorder("<" if order == b"little" else ">"))

    loaded = _TensorUnpickler(records.read(f"{root}/data.pkl"), data, source).load()
    if not isinstance(loaded, dict):
        raise UserError(f"{source}: holds a single {type(loaded).__name__}, not tensors by name")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, _Tensor):
            raise UserError(f"{source}: entry {str(name)[:80]!r} is not a tensor; only a state_dict is read")
    return {name: value.array for name, value in loaded.items()}


class _Inert:
    """What a pickle may hold in its hands: it has no attributes to set and no state to restore."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        raise pickle.UnpicklingError(f"a state for {type(self).__name__}")


class _Tensor(_Inert):
    __slots__ = ("array",)

    def __init__(self, array: np.ndarray):
        self.array = array


class _StorageType(_Inert):
    __slots__ = ("dtype",)

    def __init__(self, dtype: np.dtype):
        self.dtype = dtype


class _Function(_Inert):
    __slots__ = ("call",)

    def __init__(self, call: Callable):
        self.call = call

    def __call__(self, *arguments: Any) -> Any:
        return self.call(*arguments)


class _StateDict(dict):
    """OrderedDict as torch pickles it: with `_metadata` (the version of each module), which is dropped."""

    __slots__ = ()

    def __setstate__(self, state: Any) -> None:
        pass


def _rebuild_tensor(storage: Any, offset: Any, shape: Any, strides: Any, *_: Any) -> _Tensor:
    """NumPy's view of a storage; torch counts offset and strides in elements."""
    numbers = (offset, *shape, *strides)
    if not isinstance(storage, _Tensor) or len(shape) != len(strides):
        raise pickle.UnpicklingError("a tensor without storage")
    if any(type(n) is not int or n < 0 for n in numbers):
        raise pickle.UnpicklingError(f"a tensor of shape {shape}, strides {strides} at {offset}")
    flat, count = storage.array, math.prod(shape)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True)) if count else 0
    # The second condition also ends tensors blown up by a stride of 0.
    if (count and last >= flat.size) or count > flat.size:
        raise pickle.UnpicklingError(f"a tensor of shape {shape} reaches beyond its {flat.size} values")
    if not count:
        return _Tensor(flat[:0].reshape(shape))
    byte_strides = [s * flat.itemsize for s in strides]
    return _Tensor(np.lib.stride_tricks.as_strided(flat[offset:], shape, byte_strides, writeable=False))


_KNOWN: dict[tuple[str, str], _Inert] = {
    ("collections", "OrderedDict"): _Function(_StateDict),
    ("torch._utils", "_rebuild_tensor_v2"): _Function(_rebuild_tensor),
    ("torch._utils", "_rebuild_parameter"): _Function(lambda tensor, *_: tensor),
    **{("torch", name): _StorageType(dtype) for name, dtype in _STORAGES.items()},
}


class _TensorUnpickler(pickle.Unpickler):
    def __init__(self, content: bytes, data: Callable[[str, np.dtype, int], np.ndarray], source: str):
        super().__init__(io.BytesIO(content))
        self._data, self._source = data, source
        self._storages: dict[tuple[str, np.dtype], _Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _KNOWN:
            raise UserError(
                f"{self._source}: its pickle asks for {module}.{name}, which is no tensor; nothing was executed, "
                "do not trust this file"
            )
        return _KNOWN[module, name]

    def persistent_load(self, pid: Any) -> _Tensor:
        kind, storage, key, _, count = pid
        if kind != "storage" or not isinstance(storage, _StorageType) or type(key) is not str or type(count) is not int:
            raise pickle.UnpicklingError("a reference to something that is no storage")
        place = (key, storage.dtype)
        if place not in self._storages:
            self._storages[place] = _Tensor(self._data(key, storage.dtype, count))
        return self._storages[place]


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


# ---------------------------------------------------------------------- writing


def _pickled(tensors: Mapping[str, np.ndarray]) -> bytes:
    """The pickle that torch would write, opcode by opcode: pickle itself would want to import torch."""
    empty = _global("collections", "OrderedDict") + pickle.EMPTY_TUPLE + pickle.REDUCE
    out = [pickle.PROTO, b"\x02", empty, pickle.MARK]
    for key, (name, array) in enumerate(tensors.items()):
        dtype = array.dtype.newbyteorder("=")
        if dtype not in _STORAGE_OF:
            raise UserError(f"{name}: torch has no tensors of {array.dtype}")
        storage = [_text("storage"), _global("torch", _STORAGE_OF[dtype]), _text(str(key)), _text("cpu")]
        strides = [stride // array.itemsize for stride in array.strides]
        arguments = [
            _tuple(*storage, _whole(array.size)) + pickle.BINPERSID,
            _whole(0),
            _tuple(*map(_whole, array.shape)),
            _tuple(*map(_whole, strides)),
            pickle.NEWFALSE,
            empty,
        ]
        out += [_text(name), _global("torch._utils", "_rebuild_tensor_v2"), _tuple(*arguments), pickle.REDUCE]
    return b"".join([*out, pickle.SETITEMS, pickle.STOP])


def _global(module: str, name: str) -> bytes:
    return pickle.GLOBAL + f"{module}\n{name}\n".encode()


def _text(text: str) -> bytes:
    content = text.encode()
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content


def _tuple(*items: bytes) -> bytes:
    return pickle.MARK + b"".join(items) + pickle.TUPLE


def _whole(number: int) -> bytes:
    if number < 2**31:
        return pickle.BININT + struct.pack("<i", number)
    content = pickle.encode_long(number)
    return pickle.LONG1 + bytes([len(content)]) + content
