"""The features of a serialised tf.train.Example, without a copy of what they hold."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
"""Wire types, https://protobuf.dev/programming-guides/encoding."""

_BYTES_LIST, _INT64_LIST = 1, 3
"""Field numbers of a tf.train.Feature; 2 is the float_list."""

_LARGEST_FIELD = (1 << 29) - 1
_VARINT_BYTES = 10


def example_features(data: memoryview) -> dict[str, list[memoryview] | list[int]]:
    """A serialised tf.train.Example -> the values of each of its features: parts of `data`, or whole numbers.

    The protobuf library copies a sound three times on its way out, each time while no other thread may run Python; that
    made it the slowest part of reading PCM. A feature of floats comes with no values: no record here has one.

    Raises:
        ValueError: it is no such message.
    """
    found: dict[str, list[memoryview] | list[int]] = {}
    try:
        for features in _messages(data, 1):
            for entry in _messages(features, 1):
                name = b"".join(_messages(entry, 1)).decode()
                found[name] = [value for feature in _messages(entry, 2) for value in _values(feature)]
    except IndexError:
        raise ValueError("it ends in the middle of a field") from None
    return found


def _values(feature: memoryview) -> Iterator:
    for kind, values in _fields(feature):
        if kind == _BYTES_LIST:
            yield from _messages(values, 1)
        elif kind == _INT64_LIST:
            for number, value in _fields(values):
                if number == 1:
                    yield from [_signed(value)] if isinstance(value, int) else _packed(value)


def _packed(values: memoryview) -> Iterator[int]:
    at = 0
    while at < len(values):
        value, at = _varint(values, at)
        yield _signed(value)


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    """The fields number `wanted` of a message, which are messages, texts or bytes themselves."""
    for number, value in _fields(data):
        if number == wanted:
            if isinstance(value, int):
                raise ValueError(f"its field {number} is a number")
            yield value


def _fields(data: memoryview) -> Iterator[tuple[int, Any]]:
    """Number and value of each field of a message."""
    if isinstance(data, int):
        raise ValueError("a number stands where a message should")
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        kind = tag & 7
        if not 0 < tag >> 3 <= _LARGEST_FIELD:
            raise ValueError("a field has no valid number")
        if kind == _VARINT:
            value, at = _varint(data, at)
            yield tag >> 3, value
            continue
        if kind == _LENGTH:
            size, at = _varint(data, at)
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} is none of a tf.train.Example")
        if size > end - at:
            raise ValueError("a field is longer than its message")
        yield tag >> 3, data[at : at + size]
        at += size


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """A number in base 128, and where the next begins; IndexError behind the end."""
    value = 0
    for shift in range(0, 7 * _VARINT_BYTES, 7):
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
    raise ValueError("a number has too many bytes")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value
