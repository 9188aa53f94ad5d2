"""Parses a serialized tf.train.Example without copying its values."""

from __future__ import annotations

from typing import Any

_VARINT, _FIXED64, _LENGTH, _FIXED32 = 0, 1, 2, 5
"""Wire types, https://protobuf.dev/programming-guides/encoding."""

_BYTES_LIST, _INT64_LIST = 1, 3
"""Field numbers of a tf.train.Feature; 2 is the float_list."""

_LARGEST_FIELD = (1 << 29) - 1
_VARINT_BYTES = 10


def example_features(data: memoryview) -> dict[str, list[memoryview] | list[int]]:
    """A serialized tf.train.Example -> the values of each of its features: parts of `data`, or whole numbers.

    The protobuf library copies a sound three times on its way out, each time while no other thread may run Python; that
    made it the slowest part of reading PCM. A feature of floats comes with no values: no record here has one.

    Raises:
        ValueError: it is not such a message.
    """
    found: dict[str, list[memoryview] | list[int]] = {}
    try:
        for features in _numbered(_fields(data), 1):
            for entry in _numbered(_fields(features), 1):
                fields = _fields(entry)
                name = b"".join(_numbered(fields, 1)).decode()
                found[name] = [value for feature in _numbered(fields, 2) for value in _values(feature)]
    except IndexError:
        raise ValueError("it ends in the middle of a field") from None
    return found


def _values(feature: memoryview) -> list:
    found: list = []
    for kind, values in _fields(feature):
        if kind == _BYTES_LIST:
            found += _numbered(_fields(values), 1)
        elif kind == _INT64_LIST:
            for number, value in _fields(values):
                if number == 1:
                    found += [_signed(value)] if isinstance(value, int) else _packed(value)
    return found


def _packed(values: memoryview) -> list[int]:
    found, at = [], 0
    while at < len(values):
        value, at = _varint(values, at)
        found.append(_signed(value))
    return found


def _numbered(fields: list[tuple[int, Any]], wanted: int) -> list[memoryview]:
    """The values of the fields number `wanted`, which are messages, texts or bytes."""
    found = []
    for number, value in fields:
        if number == wanted:
            if isinstance(value, int):
                raise ValueError(f"its field {wanted} is a number")
            found.append(value)
    return found


def _fields(data: memoryview) -> list[tuple[int, Any]]:
    """Number and value of each field of a message."""
    if isinstance(data, int):
        raise ValueError("a number stands where a message should")
    found: list[tuple[int, Any]] = []
    at, end = 0, len(data)
    while at < end:
        tag = data[at]
        # Nearly all tags and sizes are one byte: to call for those would take half of the time.
        tag, at = (tag, at + 1) if tag < 128 else _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if not 0 < number <= _LARGEST_FIELD:
            raise ValueError("a field has no valid number")
        if kind == _LENGTH:
            size = data[at]
            size, at = (size, at + 1) if size < 128 else _varint(data, at)
        elif kind == _VARINT:
            value, at = _varint(data, at)
            found.append((number, value))
            continue
        elif kind in (_FIXED64, _FIXED32):
            size = 8 if kind == _FIXED64 else 4
        else:
            raise ValueError(f"wire type {kind} is none of a tf.train.Example")
        if size > end - at:
            raise ValueError("a field is longer than its message")
        found.append((number, data[at : at + size]))
        at += size
    return found


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
