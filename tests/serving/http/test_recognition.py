"""Which pieces are recognized together."""

from types import SimpleNamespace

import numpy as np
import pytest

from jasper_tf.serving.http.recognition import ReadyPiece, Recognition, RecognitionOptions, choose_batch

PLAIN = RecognitionOptions()


def ready(*seconds, options=PLAIN):
    piece = SimpleNamespace()
    return [ReadyPiece(Recognition("a", options), piece, np.zeros(int(100 * s), np.float32), 0.0) for s in seconds]


def lengths(batch):
    return [len(one.audio) / 100 for one in batch]


@pytest.mark.parametrize(
    ("waiting", "batch_size", "most_s", "chosen", "is_full"),
    [
        ((3,), 4, 100, [3], False),
        ((3, 10, 4, 1, 3.5), 4, 100, [3, 3.5, 4], False),  # 1 and 10 would be padded, or pad the others, too much
        ((3, 2, 4, 3.5), 2, 100, [3, 3.5], True),
        ((0.2, 0.9, 0.5), 4, 100, [0.2, 0.5, 0.9], False),  # all so short that it does not matter
        ((5, 5, 5, 5), 9, 15, [5, 5, 5], True),
        ((50, 50), 9, 15, [50], True),  # one may be longer than a batch
        ((4, 5, 6.5, 3), 9, 100, [4, 5], False),  # 3 could be padded to 4, not to 5
    ],
)
def test_similar_lengths(waiting, batch_size, most_s, chosen, is_full):
    batch, full = choose_batch(ready(*waiting), batch_size, 100 * most_s, 100)
    assert (lengths(batch), full) == (chosen, is_full)


def test_the_one_that_waits_longest_is_always_chosen():
    waiting = ready(1, *[20] * 30)
    batch, is_full = choose_batch(waiting, 8, 1e9, 100)
    assert batch == waiting[:1] and not is_full


def test_the_same_options():
    hot = RecognitionOptions(None, {"a": 1.0})
    waiting = [*ready(3), *ready(3, options=hot), *ready(3), *ready(3, options=RecognitionOptions(None, {"a": 2.0}))]
    assert choose_batch(waiting, 8, 1e9, 100)[0] == [waiting[0], waiting[2]]
    assert choose_batch(waiting[1:], 8, 1e9, 100)[0] == [waiting[1]]
