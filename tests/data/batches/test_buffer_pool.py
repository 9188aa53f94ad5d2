from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from jasper_tf.data.batches.buffer_pool import BufferPool


def address(batch):
    return batch.ctypes.data


def test_what_is_held_is_not_given_again():
    memory = BufferPool()
    held = [memory.take(3, 50) for _ in range(20)]
    for number, batch in enumerate(held):
        batch[:] = number
    assert len({address(batch) for batch in held}) == 20
    for number, batch in enumerate(held):
        assert batch.shape == (3, 50) and batch.dtype == np.float32 and (batch == number).all()


def test_what_is_freed_is_given_again_where_it_fits():
    memory = BufferPool()
    batch = memory.take(4, 1000)
    before = address(batch)
    del batch
    larger = memory.take(4, 1001)
    assert address(larger) != before
    smaller = memory.take(4, 100)  # so small a batch would waste it
    assert address(smaller) != before
    assert address(memory.take(4, 900)) == before


def test_tensors_hold_their_memory_and_are_no_copy():
    """Two datasets and several threads at a time; every batch keeps what was written into it."""
    memory = BufferPool()
    addresses = {}

    def fill(number):
        batch = memory.take(2, 2000)
        batch[:] = number
        addresses[int(number)] = address(batch)
        return batch

    dataset = tf.data.Dataset.range(40).map(lambda n: tf.numpy_function(fill, [n], tf.float32), num_parallel_calls=3)
    kept = list(dataset.take(10))
    assert all(addresses[n] == address(tensor._numpy()) for n, tensor in enumerate(kept))

    def right() -> bool:
        return all((tensor.numpy() == number).all() for number, tensor in enumerate(dataset))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda _: right(), range(2)))
    for number, tensor in enumerate(kept):
        assert (tensor.numpy() == number).all()
