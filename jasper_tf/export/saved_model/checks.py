"""Checks of a signature's inputs, in the graph."""

from __future__ import annotations

import tensorflow as tf


def assert_each_row(is_right: tf.Tensor, parts: list) -> tf.Operation:
    """Fails for the first wrong row: is_right [B] bool; the message is `parts`, the row's number behind the first."""
    row = tf.strings.as_string(tf.argmin(tf.concat([tf.cast(is_right, tf.int32), [0]], 0)))  # the first wrong one
    return tf.debugging.Assert(tf.reduce_all(is_right), [tf.strings.join([parts[0], row, *parts[1:]])])
