"""Maps a function over items in several threads, in order."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")


def map_in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    threads: int,
    ahead: int | None = None,
    pool: Executor | None = None,
) -> Iterator[R]:
    """`map(function, items)` by several threads, in bounded memory.

    `Executor.map` has no such bound before Python 3.14: it takes all items at once and keeps all results.

    Args:
        function: called with each item; an exception is raised where its result would come.
        items: taken one by one, by the thread that asks for results.
        threads: calls at the same time.
        ahead: results that are computed, or being computed, before they are asked for. Default: four per thread.
        pool: of `threads` workers, which is shut down at the end. Default: one of threads.

    When the caller stops early, calls that have not begun are canceled; it does not wait for those that have.
    """
    waiting: deque[Future[R]] = deque()
    pool = pool or ThreadPoolExecutor(threads)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) >= (4 * threads if ahead is None else ahead):
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
