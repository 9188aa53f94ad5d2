"""The seam between acoustic models and live decoding: audio in, log-probabilities out, part by part."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np


class LogProbStream(ABC):
    """One stream of audio through an acoustic model, in constant memory.

    Final frames never change and follow each other without a gap; provisional ones follow the final ones and are
    replaced by the next call. What the frames are depends on the audio only, not on how it is divided into calls.

    Attributes:
        sample_rate: of the audio, Hz.
        frame_s: seconds from one frame to the next.
        delay_s: the longest time from a sound to its final frame, seconds of audio.
        note: why words may differ from those of a whole recording, one line; empty where they do not, or where it is
            not known.
    """

    sample_rate: int
    frame_s: float
    delay_s: float
    note: str = ""

    @property
    @abstractmethod
    def samples_to_next(self) -> int:
        """Samples, 1 or more, after which `push` has the next frames: who pushes no more gets one step at a time."""

    @abstractmethod
    def push(self, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The next audio [S] float32, S of any size -> final [T',V+1] and provisional [T'',V+1] log-probabilities.

        Both are empty where the audio does not complete a step; then the provisional frames of before still hold.
        """

    @abstractmethod
    def finish(self) -> np.ndarray:
        """The frames [T',V+1] up to the end of the audio, all final; after that nothing can be pushed."""
