"""A kept exception does not keep tf.data iterators."""

import weakref

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.training.iterator_deletion import iterators_deleted


def failing(_: np.ndarray) -> np.ndarray:
    raise ValueError("nothing to read")


@pytest.mark.parametrize("deleted", [False, True])
def test_iterators_go_though_the_exception_stays(deleted):
    dataset = tf.data.Dataset.range(9).map(lambda i: tf.numpy_function(failing, [i], tf.int64)).prefetch(2)
    step = tf.function(lambda iterator: next(iterator), autograph=False)
    iterators: list[weakref.ref] = []

    def train() -> None:
        iterator = iter(dataset)
        iterators.append(weakref.ref(iterator))
        step(iterator)

    with pytest.raises(tf.errors.OpError, match="nothing to read") as kept:
        (iterators_deleted()(train) if deleted else train)()
    assert kept.value.__traceback__ is not None
    assert (iterators[0]() is None) == deleted
