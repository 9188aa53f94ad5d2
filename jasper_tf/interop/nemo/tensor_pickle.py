"""Reads the pickled state dict of a torch checkpoint: 25 of pickle's operations, none of which calls anything."""

from __future__ import annotations

import contextlib
import math
import pickletools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import FunctionType
from typing import Any

import ml_dtypes
import numpy as np

from jasper_tf.errors import UserError, one_line

STORAGES: dict[str, np.dtype] = {
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
"""Storage classes of torch, by name, and their data types."""

# QuartzNet's 639 tensors take 112 kB and 24,308 operations.
_LARGEST, _MOST_OPERATIONS = 16 * 2**20, 2_000_000
_MOST_DIMENSIONS = 32  # NumPy 1's limit
_LONGEST_TEXT = 1000

_NUMBERS = {"BININT", "BININT1", "BININT2", "LONG1"}
_TEXTS = {"BINUNICODE", "SHORT_BINUNICODE"}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_TUPLES = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def read_tensor_pickle(
    content: bytes, read_storage: Callable[[str, np.dtype, int], np.ndarray], source: str
) -> dict[str, np.ndarray]:
    """Reads the tensors of a pickled state dict by name, as views of their storages.

    Python's unpickler hashes, calls and allocates what a stream asks for, even with a restricted `find_class`. Here
    nothing is called, only strings become keys, and memory grows with the length of the stream alone.

    Args:
        content: the pickle, of protocol 2 to 5.
        read_storage: gives the `count` values of the storage `key`, [count]; arguments key, dtype, count.
        source: the file, for messages.

    Raises:
        UserError: cut off, an operation or name that no state dict needs, a tensor that reaches beyond its storage.
    """
    if len(content) > _LARGEST:
        raise UserError(f"{source}: its pickle has {len(content)} bytes; a state dict needs less than {_LARGEST}")
    reader = _StateDictReader(read_storage)
    try:
        loaded = reader.read(content)
    except UserError:
        raise
    except ValueError as error:
        reason = _asks_for_code(content) or str(error)
        raise UserError(f"{source}: its pickle {reason[:200]}; do not trust this file") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{source}: holds a single {type(loaded).__name__}, not tensors by name")
    for name, value in loaded.items():
        if not isinstance(value, np.ndarray) or not name.isprintable():
            raise UserError(f"{source}: entry {name[:80]!r} is not a tensor with a name; only a state_dict is read")
    return dict(loaded)


def _operations(content: bytes) -> Iterator[tuple[str, Any]]:
    try:
        for number, (operation, argument, _) in enumerate(pickletools.genops(content)):
            if number >= _MOST_OPERATIONS:
                raise ValueError(f"more than {_MOST_OPERATIONS} operations")
            yield operation.name, argument
    except ValueError as error:
        raise ValueError(f"is cut off or damaged ({one_line(error, 100)})") from None


def _asks_for_code(content: bytes) -> str:
    """Returns the reason if a rejected pickle names a function or class outside of a state dict, else ""."""
    with contextlib.suppress(ValueError):
        for name, argument in _operations(content):
            if name in ("GLOBAL", "INST"):
                try:
                    _known(*argument.split(" ", 1))
                except _UnknownNameError as error:
                    return str(error)
    return ""


class _OrderedDict(dict):
    """State dict as torch pickles it, with a state (the version of each module) that is dropped."""


@dataclass(frozen=True)
class _Storage:
    values: np.ndarray


class _StateDictReader:
    """Executes a pickle's operations on a stack; messages of its ValueErrors continue "its pickle ..."."""

    def __init__(self, read_storage: Callable[[str, np.dtype, int], np.ndarray]):
        self._read_storage = read_storage
        self._stack: list[Any] = []
        self._marks: list[int] = []
        self._memo: dict[int, Any] = {}

    def read(self, content: bytes) -> Any:
        for name, argument in _operations(content):
            if name != "STOP":
                self._execute(name, argument)
        (loaded,) = self._pop(1)
        return loaded

    def _execute(self, name: str, argument: Any) -> None:
        stack = self._stack
        if name in _NUMBERS:
            stack.append(argument)
        elif name in _TEXTS:
            if len(argument) > _LONGEST_TEXT:
                raise ValueError(f"holds a text of {len(argument)} characters")
            stack.append(argument)
        elif name in _CONSTANTS:
            stack.append(_CONSTANTS[name])
        elif name in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self._top()
        elif name == "MEMOIZE":
            self._memo[len(self._memo)] = self._top()
        elif name in ("BINGET", "LONG_BINGET"):
            if argument not in self._memo:
                raise ValueError(f"takes entry {argument} of its memo, which is empty")
            stack.append(self._memo[argument])
        elif name == "MARK":
            self._marks.append(len(stack))
        elif name in _TUPLES:
            stack.append(_flat_tuple(self._pop(_TUPLES[name])))
        elif name == "TUPLE":
            stack.append(_flat_tuple(self._pop_to_mark()))
        elif name == "EMPTY_DICT":
            stack.append({})
        elif name == "SETITEM":
            self._set_items(self._pop(2))
        elif name == "SETITEMS":
            self._set_items(self._pop_to_mark())
        elif name == "GLOBAL":
            stack.append(_known(*argument.split(" ", 1)))
        elif name == "STACK_GLOBAL":
            stack.append(_known(*self._pop(2)))
        elif name == "BINPERSID":
            stack.append(self._storage(*self._pop(1)))
        elif name == "REDUCE":
            function, arguments = self._pop(2)
            if not isinstance(function, FunctionType) or not isinstance(arguments, tuple):
                raise ValueError(f"calls a {type(function).__name__} with a {type(arguments).__name__}")
            stack.append(function(*arguments))
        elif name == "BUILD":
            self._pop(1)
            if not isinstance(self._top(), _OrderedDict):
                raise ValueError(f"has a state for a {type(self._top()).__name__}")
        elif name not in ("PROTO", "FRAME"):
            raise ValueError(f"has the operation {name}, which no state dict needs")

    def _pop(self, count: int) -> list[Any]:
        start = len(self._stack) - count
        if start < (self._marks[-1] if self._marks else 0):
            raise ValueError("takes more values than it gave")
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _pop_to_mark(self) -> list[Any]:
        if not self._marks:
            raise ValueError("lacks a mark")
        start = self._marks.pop()
        taken = self._stack[start:]
        del self._stack[start:]
        return taken

    def _top(self) -> Any:
        (top,) = self._pop(1)
        self._stack.append(top)
        return top

    def _set_items(self, items: list[Any]) -> None:
        target = self._top()
        if not isinstance(target, dict) or len(items) % 2:
            raise ValueError(f"puts {len(items)} keys and values in a {type(target).__name__}")
        for key, value in zip(items[::2], items[1::2], strict=True):
            if not isinstance(key, str):
                raise ValueError(f"has a {type(key).__name__} as a key")
            target[key] = value

    def _storage(self, reference: Any) -> _Storage:
        if not isinstance(reference, tuple) or len(reference) != 5 or reference[0] != "storage":
            raise ValueError("has a reference that is not to a storage")
        _, dtype, key, _, count = reference
        if not isinstance(dtype, np.dtype) or not isinstance(key, str) or not _is_size(count):
            raise ValueError("has a storage without type, key or size")
        return _Storage(self._read_storage(key, dtype, count))


def _flat_tuple(items: list[Any]) -> tuple:
    """Rejects a tuple longer than a shape or deeper than the arguments of a tensor."""
    if len(items) > _MOST_DIMENSIONS:
        raise ValueError(f"has a tuple of {len(items)}; a tensor has at most {_MOST_DIMENSIONS} dimensions")
    if any(isinstance(item, tuple) and any(isinstance(i, tuple) for i in item) for item in items):
        raise ValueError("has tuples in tuples in tuples")
    return tuple(items)


def _known(module: Any, name: Any = "") -> Any:
    if not isinstance(module, str) or not isinstance(name, str):
        raise ValueError("has a name that is not text")
    if module == "torch" and name in STORAGES:
        return STORAGES[name]
    full = f"{module}.{name}"
    if full not in _FUNCTIONS:
        shown = "".join(c if c.isprintable() else "?" for c in full[:100])
        raise _UnknownNameError(shown)
    return _FUNCTIONS[full]


class _UnknownNameError(ValueError):
    def __init__(self, name: str):
        super().__init__(f"asks for {name}, which is not part of a tensor; nothing was executed")


def _is_size(number: Any) -> bool:
    return type(number) is int and 0 <= number < 2**63


def _ordered_dict(*arguments: Any) -> _OrderedDict:
    if arguments:
        raise ValueError("makes an OrderedDict with arguments")
    return _OrderedDict()


def _tensor(*arguments: Any) -> np.ndarray:
    """NumPy's view of a storage; torch counts offset and strides in elements."""
    if not 6 <= len(arguments) <= 7:
        raise ValueError(f"has a tensor of {len(arguments)} arguments")
    storage, offset, shape, strides = arguments[:4]
    if not isinstance(storage, _Storage) or not isinstance(shape, tuple) or not isinstance(strides, tuple):
        raise ValueError("has a tensor without storage, shape or strides")
    if len(shape) != len(strides) or not all(map(_is_size, (offset, *shape, *strides))):
        raise ValueError("has a tensor whose shape, strides or offset are not sizes")
    values, count = storage.values, math.prod(shape)
    # Of an empty tensor NumPy multiplies the other dimensions; a stride of 0 repeats a value without end.
    fits = math.prod(max(n, 1) for n in shape) <= (values.size if count else 2**31)
    last = offset + sum((n - 1) * s for n, s in zip(shape, strides, strict=True))
    if not fits or (count and last >= values.size):
        raise ValueError(f"has a tensor of shape {shape} that reaches beyond its {values.size} values")
    if not count:
        return values[:0].reshape(shape)
    # The stride of a single element may be any number.
    byte_strides = [s * values.itemsize if n > 1 else values.itemsize for n, s in zip(shape, strides, strict=True)]
    return np.ndarray(shape, values.dtype, values.view(np.uint8), offset * values.itemsize, byte_strides)


def _parameter(*arguments: Any) -> np.ndarray:
    if len(arguments) != 3 or not isinstance(arguments[0], np.ndarray):
        raise ValueError("has a parameter without tensor")
    return arguments[0]


_FUNCTIONS: dict[str, Callable[..., Any]] = {
    "collections.OrderedDict": _ordered_dict,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_parameter": _parameter,
}
