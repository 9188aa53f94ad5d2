"""Decodes a stream of frames word by word."""

from __future__ import annotations

import math
import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable

import numpy as np

from jasper_tf.decoding.alignment import WordTiming, join_words, split_words, time_labels
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.inference.transcript import ScoredText
from jasper_tf.text.tokenizer import Tokenizer

_AGGREGATIONS: dict[str, Callable[[Iterable[float]], float]] = {
    "mean": statistics.fmean,
    "min": min,
    "max": max,
    "prod": math.prod,
}
"""As `group_words` of `decoding/words.py` has them, of one word."""


class LiveDecoder(ABC):
    """Turns frames into words as they come, and keeps no more than the frames of the words that are not final.

    A word is final when the label behind it is that begins the next one, a space for example.

    Args:
        tokenizer: of the model.
        frame_s: seconds of a frame.
        aggregation: of the confidences of a word's labels: the decoder's `word_aggregation`.

    Attributes:
        n_best: the best texts that `finish` found the last time, from the frames since the time before, if the decoder
            returns several and they are not thousands of labels long.
    """

    _kept = 0
    """Frames that are kept where there is no word."""

    def __init__(self, tokenizer: Tokenizer, frame_s: float, aggregation: str):
        self.tokenizer, self.frame_s, self.aggregation = tokenizer, frame_s, aggregation
        self.n_best: tuple[ScoredText, ...] | None = None
        self._frames = np.zeros((0, len(tokenizer) + 1), np.float32)
        self._first = 0  # of `_frames`, in frames of the stream

    @property
    def open_s(self) -> float:
        """Seconds of the frames that are kept."""
        return len(self._frames) * self.frame_s

    def push(self, log_probs: np.ndarray) -> list[WordTiming]:
        """Decodes the next frames [T',V+1] -> the words that are final now and were not before."""
        self._frames = np.concatenate([self._frames, log_probs])
        best, decided = self._advance(log_probs)
        labels = self._timed(best)
        begins = [k for k, label in enumerate(labels[:decided]) if label.text.startswith(" ")]
        boundary = begins[-1] if begins else 0
        words, closed = self._words(labels), len(split_words(labels[:boundary]))
        if closed < len(words):
            self._drop(int(best.start_frame[0, boundary]), boundary)
        else:
            self._drop(max(0, len(self._frames) - self._kept), len(labels))
        return words[:closed]

    def look_ahead(self, log_probs: np.ndarray) -> list[WordTiming]:
        """The words that are not final, with those of provisional frames [T',V+1] that follow."""
        return self._words(self._timed(self._peek(log_probs)))

    def finish(self) -> list[WordTiming]:
        """Ends the text: its words that are not final yet. The next frames begin another one."""
        words = self._words(self._timed(self._end()))
        self._drop(len(self._frames), 0)
        return words

    @abstractmethod
    def _advance(self, log_probs: np.ndarray) -> tuple[Hypotheses, int]:
        """Takes the next frames: the best hypothesis of `_frames`, [1,U], and how many of its labels are decided."""

    @abstractmethod
    def _peek(self, log_probs: np.ndarray) -> Hypotheses:
        """The best hypothesis of `_frames` and these."""

    @abstractmethod
    def _end(self) -> Hypotheses:
        """The best hypothesis of `_frames` as a whole text; then starts anew."""

    def _drop(self, frames: int, labels: int) -> None:
        """Forgets the first frames, and the first labels of the best hypothesis, which lie there."""
        self._frames = self._frames[frames:]
        self._first += frames

    def _timed(self, best: Hypotheses) -> list[WordTiming]:
        """The labels with their times in the stream."""
        first = self._first
        best = best._replace(start_frame=best.start_frame + first, end_frame=best.end_frame + first)
        return time_labels(best, self.tokenizer, self.frame_s)[0]

    def _words(self, labels: list[WordTiming]) -> list[WordTiming]:
        return join_words(labels, _AGGREGATIONS[self.aggregation])
