"""Finds where a speaker pauses."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from jasper_tf.errors import UserError


class EndpointDetector:
    """Detects endpoints: splits frames after each pause of `pause_s` that follows speech.

    A frame says nothing if its best class is the blank, a space or a label that writes nothing. One pause has one
    endpoint.

    Args:
        pause_s: how long nothing must be said, seconds; 0: there are no endpoints. CTC ends words early, so that
            pauses are found longer than they are.
        frame_s: seconds of a frame.
        silent: [V+1] bool, the classes that say nothing.

    Raises:
        UserError: `pause_s` is below 0 or not finite.
    """

    def __init__(self, pause_s: float, frame_s: float, silent: np.ndarray):
        if not 0 <= pause_s < float("inf"):
            raise UserError(f"endpoint_s {pause_s:g}: must be a number of seconds, or 0 for no endpoints")
        self._pause = max(1, round(pause_s / frame_s)) if pause_s else 0
        self._silent = silent
        self._silence = 0  # frames since something was said
        self._spoken = False  # since the last endpoint

    def split(self, log_probs: np.ndarray) -> Iterator[tuple[np.ndarray, bool]]:
        """Divides the next frames [T',V+1] into parts: each, and whether an endpoint follows it."""
        begin = 0
        if self._pause:
            for t, says_nothing in enumerate(self._silent[log_probs.argmax(axis=1)], 1):
                self._silence = self._silence + 1 if says_nothing else 0
                self._spoken = self._spoken or not says_nothing
                if self._spoken and self._silence >= self._pause:
                    self._spoken = False
                    yield log_probs[begin:t], True
                    begin = t
        if begin < len(log_probs):
            yield log_probs[begin:], False
