"""A recording on its way through the inference worker, and which pieces of several are recognized together."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.inference.long_audio import SAME_WORD_S, join_transcripts
from jasper_tf.inference.recording_job import Piece, RecordingJob
from jasper_tf.inference.transcript import Transcript

if TYPE_CHECKING:  # TensorFlow is loaded while the server listens already
    from jasper_tf.decoding.decoder import Decoder

_LEAST_S = 1.0
"""Recordings of up to this length are recognized together whatever the difference."""
_MOST_PADDED = 1.5
"""How many times its length a longer recording is padded to: further, padding costs more than a larger batch saves."""


@dataclass(frozen=True)
class RecognitionOptions:
    """How one request wants its recording decoded; only requests with the same decoder and hot words share a batch.

    Args:
        decoder: in place of the server's own.
        hot_words: in place of those of the decoder.
        words: whether the transcript must have words; it may have them all the same.
    """

    decoder: Decoder | None = None
    hot_words: GivenHotWords | None = None
    words: bool = True

    def is_same(self, other: RecognitionOptions) -> bool:
        return self.decoder is other.decoder and self.hot_words == other.hot_words


class Recognition:
    """A recording on its way through the worker. The worker alone changes it; others wait for `future`.

    Args:
        path: of the file.
        options: of the request.
        on_progress: called in the worker's thread whenever a piece is recognized, but not after the last.
    """

    def __init__(self, path: str, options: RecognitionOptions, on_progress: Callable[[], object] | None = None):
        self.path = path
        self.options = options
        self.on_progress = on_progress
        self.future: Future[Transcript] = Future()
        self.job: RecordingJob | None = None
        self.next_part = 0
        self.unfinished_parts = 0

    def cancel(self) -> None:
        """Gives up; a batch that has begun goes on, and its result is dropped."""
        self.future.cancel()

    @property
    def has_more(self) -> bool:
        return self.job is not None and self.next_part < len(self.job.parts)

    @property
    def progress(self) -> float:
        """How much of the recording is recognized, 0 to 1."""
        return 0.0 if self.job is None else len(self.job.found) / max(len(self.job.parts), 1)

    def settled_text(self, sample_rate: int) -> str:
        """The words that no later piece of the recording can change."""
        job = self.job
        if job is None:
            return ""
        found = dict(job.found)
        count = next(k for k in range(len(job.parts) + 1) if k not in found)
        if not 0 < count < len(job.parts):
            return ""
        words = list(join_transcripts(job.parts[:count], [found[k] for k in range(count)], sample_rate).words or ())
        limit_s = job.parts[count][0] / sample_rate - SAME_WORD_S
        while words and (words[-1].start_s + words[-1].end_s) / 2 >= limit_s:  # as `join_transcripts` will
            words.pop()
        return " ".join(word.text for word in words)


@dataclass
class ReadyPiece:
    """A piece with its audio [S] float32, and when that was there (`time.monotonic`)."""

    recognition: Recognition
    piece: Piece
    audio: np.ndarray
    ready_at: float


def choose_batch(
    ready: Sequence[ReadyPiece], batch_size: int, most_samples: float, sample_rate: int
) -> tuple[list[ReadyPiece], bool]:
    """The piece that waits longest, and those of others that are recognized with it; and whether there is no room left.

    They have the same options and similar lengths (`_MOST_PADDED`).

    Args:
        ready: one or more, in the order of their arrival.
        batch_size: largest number.
        most_samples: largest number times the longest; a single one may be longer.
        sample_rate: Hz.
    """
    first = ready[0]
    size = len(first.audio)
    others = [one for one in ready[1:] if one.recognition.options.is_same(first.recognition.options)]
    others.sort(key=lambda one: abs(len(one.audio) - size))
    batch, shortest, longest = [first], size, size
    for one in others:
        low, high = min(shortest, len(one.audio)), max(longest, len(one.audio))
        if high > max(_MOST_PADDED * low, _LEAST_S * sample_rate):
            continue
        if len(batch) == batch_size or (len(batch) + 1) * high > most_samples:
            return batch, True
        batch.append(one)
        shortest, longest = low, high
    return batch, len(batch) == batch_size
