"""map_in_order: order, bounded look-ahead, exceptions, an early stop."""

import threading

import pytest

from jasper_tf.io.thread_pool import map_in_order


def test_results_come_in_the_order_of_the_items():
    turn = [threading.Event() for _ in range(4)]
    turn[3].set()

    def backwards(i):
        assert turn[i].wait(10)
        if i:
            turn[i - 1].set()
        return i

    assert list(map_in_order(backwards, range(4), threads=4, ahead=4)) == [0, 1, 2, 3]
    assert list(map_in_order(str, [], threads=2)) == []


def test_no_more_items_are_taken_than_ahead():
    taken = []

    def items():
        for i in range(100):
            taken.append(i)
            yield i

    for result in map_in_order(lambda i: i, items(), threads=2, ahead=5):
        assert len(taken) <= result + 5
    assert len(taken) == 100


def test_an_exception_comes_at_its_place():
    results = map_in_order(lambda i: 6 // (3 - i), range(6), threads=2)
    assert [next(results) for _ in range(3)] == [2, 3, 6]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_an_early_stop_cancels_what_has_not_begun():
    begun, free = [], threading.Event()

    def work(i):
        begun.append(i)
        assert i == 0 or free.wait(10)

    results = map_in_order(work, range(50), threads=1, ahead=20)
    next(results)
    results.close()
    free.set()
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and "ThreadPoolExecutor" in thread.name:
            thread.join(10)
    assert len(begun) <= 2
