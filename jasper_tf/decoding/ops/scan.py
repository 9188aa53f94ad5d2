"""A loop over frames that stacks one output a frame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
from keras import ops


def scan(step: Callable[[Any, Any], tuple[Any, Any]], carry: Any, output: Any, length: Any, reverse: bool = False):
    """Runs `step` for t = 0, ..., length - 1, or from the last to the first.

    On TensorFlow `keras.ops.scan` stacks only outputs of the shape and dtype of the carry (keras 3.15).

    Args:
        step: (carry, t) -> (carry, output of the frame).
        carry: a tensor or a tuple of tensors.
        output: a tensor with the shape and dtype of an output.
        length: the number of frames.
        reverse: whether it begins at the last frame.

    Returns:
        (carry, outputs [length, ...]), the outputs in the order of the frames.
    """
    frames = ops.arange(length, dtype="int32")
    if keras.backend.backend() != "tensorflow":
        return ops.scan(step, carry, frames, reverse=reverse)

    import tensorflow as tf  # the only backend that needs its own loop

    def any_batch(tensor):  # a step may lose what is known of the first dimension
        return tf.TensorShape([None, *tensor.shape[1:]])

    def body(i, carry, outputs):
        t = length - 1 - i if reverse else i
        carry, found = step(carry, t)
        return i + 1, carry, outputs.write(t, found)

    # One entry more than frames: TensorFlow cannot stack an empty array whose entries have dynamic shapes.
    outputs = tf.TensorArray(output.dtype, size=length + 1, element_shape=any_batch(output)).write(length, output)
    invariants = (tf.TensorShape([]), tf.nest.map_structure(any_batch, carry), tf.TensorShape(None))
    begin = (0, carry, outputs)
    _, carry, outputs = tf.while_loop(lambda i, *_: i < length, body, begin, invariants, parallel_iterations=1)
    stacked = outputs.stack()
    stacked.set_shape([None, *any_batch(output)])
    return carry, stacked[:length]
