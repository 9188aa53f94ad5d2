"""Deletes tf.data iterators when an exception ends the training."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def iterators_deleted() -> Iterator[None]:
    """Deletes the iterators in the frames of an exception before the exception is raised again.

    TensorFlow stops the threads of an iterator with its last reference. These threads run Python: they would run as
    long as the exception is referenced, and hang or abort the process at its end. As a decorator it covers the
    function's own variables too.
    """
    try:
        yield
    except BaseException as error:
        chain: list[BaseException | None] = [error]
        for link in chain:  # the causes too
            if link is not None:
                _clear_frames(link)
                chain += [other for other in (link.__cause__, link.__context__) if other not in chain]
        gc.collect()
        raise


def _clear_frames(error: BaseException) -> None:
    """Clears the frames of `error`, also those that TensorFlow removed from its traceback."""
    step = error.__traceback__
    while step is not None:
        frame: FrameType | None = step.tb_frame
        with contextlib.suppress(RuntimeError):  # still running, as are its callers
            while frame is not None:
                frame.clear()
                frame = frame.f_back
        step = step.tb_next
