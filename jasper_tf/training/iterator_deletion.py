"""The end of tf.data's iterators when an exception leaves the training."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def iterators_deleted() -> Iterator[None]:
    """Deletes, before an exception goes on, every iterator that only the frames it came through hold.

    TensorFlow stops an iterator's threads when the last reference to it goes. Those threads read in Python: without
    this they would go on as long as anybody keeps the exception, and hang or abort a process that ends. As a decorator
    it covers the function's own variables too.
    """
    try:
        yield
    except BaseException as error:
        chain: list[BaseException | None] = [error]
        for link in chain:  # what TensorFlow raised is behind what it became
            if link is not None:
                _clear_frames(link)
                chain += [other for other in (link.__cause__, link.__context__) if other not in chain]
        gc.collect()
        raise


def _clear_frames(error: BaseException) -> None:
    """Empties the frames that `error` came through, those included that TensorFlow took out of its traceback."""
    step = error.__traceback__
    while step is not None:
        frame: FrameType | None = step.tb_frame
        with contextlib.suppress(RuntimeError):  # it still runs, and so do those that called it
            while frame is not None:
                frame.clear()
                frame = frame.f_back
        step = step.tb_next
