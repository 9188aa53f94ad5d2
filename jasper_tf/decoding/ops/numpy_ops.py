"""The operations of `keras.ops` that greedy decoding uses, on NumPy arrays: no caller waits for Keras."""

from __future__ import annotations

import sys
from typing import Any

import numpy as np
from numpy import (
    arange,
    argmax,
    clip,
    concatenate,
    exp,
    full,
    logical_and,
    logical_not,
    logical_or,
    max,
    maximum,
    minimum,
    ones_like,
    pad,
    reshape,
    shape,
    sort,
    take,
    take_along_axis,
    where,
    zeros,
)

__all__ = [
    "arange",
    "argmax",
    "cast",
    "clip",
    "concatenate",
    "cumsum",
    "exp",
    "full",
    "log",
    "log_softmax",
    "logical_and",
    "logical_not",
    "logical_or",
    "max",
    "maximum",
    "minimum",
    "ones_like",
    "ops_of",
    "pad",
    "reshape",
    "segment_max",
    "segment_sum",
    "shape",
    "sort",
    "sum",
    "take",
    "take_along_axis",
    "where",
    "zeros",
]


def ops_of(array: Any) -> Any:
    """The operations for an array and what is computed from it: these for NumPy's, `keras.ops` for tensors."""
    if isinstance(array, np.ndarray):
        return sys.modules[__name__]
    from keras import ops  # who has a tensor has Keras

    return ops


def cast(x: np.ndarray, dtype: str) -> np.ndarray:
    return x.astype(dtype, copy=False)


def cumsum(x: np.ndarray, axis: int) -> np.ndarray:
    return np.cumsum(x, axis=axis, dtype=x.dtype)


def sum(x: np.ndarray, axis: int) -> np.ndarray:
    return np.sum(x, axis=axis, dtype=x.dtype)


def log(x: np.ndarray) -> np.ndarray:
    with np.errstate(divide="ignore"):
        return np.log(x)


def log_softmax(x: np.ndarray, axis: int) -> np.ndarray:
    shifted = x - x.max(axis=axis, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))


def segment_sum(data: np.ndarray, segment_ids: np.ndarray, num_segments: int) -> np.ndarray:
    return np.bincount(segment_ids, data, num_segments).astype(data.dtype)


def segment_max(data: np.ndarray, segment_ids: np.ndarray, num_segments: int) -> np.ndarray:
    found = np.full(num_segments, np.finfo(data.dtype).min, data.dtype)
    np.maximum.at(found, segment_ids, data)
    return found
