from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow as tf

from jasper_tf.data.batches.buffer_pool import BufferPool

# 40 MB: so much comes from the kernel each time, filled with zeros. What is written into a batch therefore marks its
# memory, and the untouched rest of it takes no room.
LARGE = (4, 2_500_000)


def marked(memory: BufferPool, mark: float) -> np.ndarray:
    batch = memory.take(*LARGE)
    batch[0, 0] = mark
    return batch


def test_what_is_held_is_not_given_again():
    memory = BufferPool()
    held = [memory.take(3, 50) for _ in range(20)]
    for number, batch in enumerate(held):
        batch[:] = number
    for number, batch in enumerate(held):
        assert batch.shape == (3, 50) and batch.dtype == np.float32 and (batch == number).all()


def test_what_is_freed_is_given_again_where_it_fits():
    memory = BufferPool()
    rows, samples = LARGE
    batch = marked(memory, 7.0)
    del batch
    assert memory.take(rows, samples + 100)[0, 0] != 7.0
    memory = BufferPool()
    batch = marked(memory, 7.0)
    del batch
    smaller = memory.take(rows, samples // 3)  # so small a batch would waste it
    assert smaller[0, 0] != 7.0
    assert memory.take(rows, samples - 1000)[0, 0] == 7.0


def test_a_tensor_takes_over_the_memory_until_it_is_freed():
    """Where TensorFlow copied, the memory would be free as soon as the tensor is there."""
    memory = BufferPool()
    dataset = tf.data.Dataset.range(1).map(lambda n: tf.numpy_function(lambda _: marked(memory, 7.0), [n], tf.float32))
    (tensor,) = dataset
    second = memory.take(*LARGE)
    assert second[0, 0] != 7.0 and tensor[0, 0] == 7.0
    del tensor
    assert memory.take(*LARGE)[0, 0] == 7.0


def test_every_batch_keeps_what_was_written_into_it():
    """Two datasets and several threads at a time."""
    memory = BufferPool()

    def fill(number):
        batch = memory.take(2, 2000)
        batch[:] = number
        return batch

    dataset = tf.data.Dataset.range(40).map(lambda n: tf.numpy_function(fill, [n], tf.float32), num_parallel_calls=3)
    kept = list(dataset.take(10))

    def right() -> bool:
        return all((tensor.numpy() == number).all() for number, tensor in enumerate(dataset))

    with ThreadPoolExecutor(2) as pool:
        assert all(pool.map(lambda _: right(), range(2)))
    for number, tensor in enumerate(kept):
        assert (tensor.numpy() == number).all()
