"""Where TensorFlow's training kernels can update a variable in place."""

from __future__ import annotations

import keras

if keras.backend.backend() == "tensorflow":
    import tensorflow as tf


def updates_in_place(variable) -> bool:
    """Returns whether kernels such as ResourceApplyMomentum may update `variable`.

    They need TensorFlow and float32, and a distribution strategy would not see what they do.
    """
    return keras.backend.backend() == "tensorflow" and not tf.distribute.has_strategy() and variable.dtype == "float32"


def resource_of(variable):
    """Returns the handle of a variable of Keras or TensorFlow."""
    return (variable.value if isinstance(variable, keras.Variable) else variable).handle
