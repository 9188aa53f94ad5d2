"""Stops a run before its end, on a signal or a time limit."""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType

import keras

from jasper_tf.training.callbacks.save_checkpoints import SaveCheckpoints

_ELSEWHERE = "a signal to another machine"
_STATUS = {"SIGTERM": 143, "Ctrl-C": 130, "max_time": 0, _ELSEWHERE: 143}
# The vote of a signal when machines agree to stop; their time limits, 1 each, do not add up to it.
_VOTE = 1e6


class TrainingInterruptedError(Exception):
    """The run stopped before its end and can resume; `status` is the exit status of the command."""

    def __init__(self, message: str, status: int):
        super().__init__(message)
        self.status = status


class Interruption:
    """SIGTERM, Ctrl-C and `max_time` as a request to stop between two steps.

    As a context manager it handles the signals; a second signal has its usual effect at once. Outside of the main
    thread, where Python delivers no signals, it handles none.

    Args:
        max_time_s: seconds from now; None for no limit.
    """

    def __init__(self, max_time_s: float | None = None):
        self._asked: str | None = None
        self._until = None if max_time_s is None else time.monotonic() + max_time_s
        self._handlers: dict[int, object] = {}

    @property
    def reason(self) -> str | None:
        """Reason to stop: `SIGTERM`, `Ctrl-C` or `max_time`; None to continue."""
        if self._asked is None and self._until is not None and time.monotonic() >= self._until:
            self._asked = "max_time"
        return self._asked

    def __enter__(self) -> Interruption:
        if threading.current_thread() is threading.main_thread():
            self._handlers = {s: signal.signal(s, self._ask) for s in (signal.SIGTERM, signal.SIGINT)}
        return self

    def __exit__(self, *_) -> None:
        self._restore()

    def _ask(self, number: int, _: FrameType | None) -> None:
        self._asked = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
        self._restore()

    def _restore(self) -> None:
        for number, handler in self._handlers.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # what signal.signal gave back
        self._handlers = {}


class StopWhenAsked(keras.callbacks.Callback):
    """Saves and stops at the first step with a reason in `interruption`, in training and in validation.

    Several machines stop at the same step, once one of them has a reason, and not in validation.

    Args:
        interruption: checked after each step.
        saver: saves the step, if the run keeps checkpoints; None where another machine writes, or nothing
            outlives the run (`fast_dev_run`).

    Raises:
        TrainingInterruptedError: from within `fit`.
    """

    def __init__(self, interruption: Interruption, saver: SaveCheckpoints | None):
        super().__init__()
        self.interruption = interruption
        self.saver = saver

    def on_train_batch_end(self, batch, logs=None):
        reason = self.interruption.reason
        if self.model.leaving is None:
            self._stop(reason)
            return
        if reason:
            self.model.leave(_VOTE if _STATUS[reason] else 1)
        if votes := float(logs["leaving"]):
            self._stop(reason or (_ELSEWHERE if votes >= _VOTE else "max_time"))

    def on_test_batch_end(self, batch, logs=None):
        if self.model.leaving is None:
            self._stop(self.interruption.reason)

    def _stop(self, reason: str | None) -> None:
        if reason is None:
            return
        if self.saver is None:
            raise TrainingInterruptedError(f"stopped by {reason}", _STATUS[reason])
        if self.saver.checkpoints is None:
            raise TrainingInterruptedError(
                f"stopped by {reason}; nothing is saved, checkpoints are off", _STATUS[reason]
            )
        path = self.saver.save_now()
        message = f"stopped by {reason}, saved {path}; the same command resumes there"
        raise TrainingInterruptedError(message, _STATUS[reason])
