"""What the search needs of a backend besides `keras.ops`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
from keras import ops


def is_tensorflow() -> bool:
    """Whether Keras runs on TensorFlow, whose graphs have dynamic shapes."""
    return keras.backend.backend() == "tensorflow"


def traced(function: Callable, *inputs: tuple[Sequence[int | None], str]) -> Callable:
    """The function as one graph for all shapes, where the backend runs operation by operation otherwise.

    `inputs`: shape and type of each argument, where all are arrays. Default: what the first calls have in common.
    """
    if not is_tensorflow():
        return function
    import tensorflow as tf  # the only backend that needs it

    signature = [tf.TensorSpec(shape, dtype) for shape, dtype in inputs] or None
    return tf.function(function, signature, autograph=False, reduce_retracing=True)


def hash_type() -> str:
    """The integers of hashes: JAX has no int64 unless it is asked for."""
    return "int64" if is_tensorflow() else "int32"


def gather(array: Any, indices: Any) -> Any:
    """`array[indices]` along the first axis, for indices of 0 and above.

    `keras.ops.take` adds five operations for negative ones on TensorFlow (keras 3.15), as many as the rest of a query.
    """
    if not is_tensorflow():
        return ops.take(array, indices, axis=0)
    import tensorflow as tf  # the only backend that needs its own function

    return tf.gather(array, indices)


def first_columns(array: Any, t: Any, count: Any) -> Any:
    """`array[:, t : t + 1, :count]` of [B,T,A]."""
    if not is_tensorflow():
        return ops.slice(array, (0, t, 0), (array.shape[0], 1, count))
    import tensorflow as tf  # as in `gather`

    return tf.slice(array, [0, t, 0], [-1, 1, count])
