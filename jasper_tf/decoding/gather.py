"""What the search needs of a backend besides `keras.ops`."""

from __future__ import annotations

from typing import Any

import keras
from keras import ops


def gather(array: Any, indices: Any) -> Any:
    """`array[indices]` along the first axis, for indices of 0 and above.

    `keras.ops.take` adds five operations for negative ones on TensorFlow (keras 3.15), as many as the rest of a query.
    """
    if keras.backend.backend() != "tensorflow":
        return ops.take(array, indices, axis=0)
    import tensorflow as tf  # the only backend that needs its own function

    return tf.gather(array, indices)


def hash_type() -> str:
    """The integers of hashes: JAX has no int64 unless it is asked for."""
    return "int64" if keras.backend.backend() == "tensorflow" else "int32"
