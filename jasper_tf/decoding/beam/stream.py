"""Beam search over a recording in parts, in constant memory."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
from keras import ops

from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.hot_words import HotWords

_MOST_OPEN = 256
"""Labels behind which a difference between texts is decided for the best one of this moment."""

_LEAST_SCORE = -1e29
"""Of a text: where a beam has fewer, the others are below."""


class BeamStream:
    """Decodes one recording part by part: the same labels as of the whole, if texts do not compete for too long.

    What the K texts that are still possible have in common is final; only where they differ it is kept. Of texts that
    differ more than `_MOST_OPEN` labels ago the best one wins.

    Args:
        decoder: its search, language model and hot words.
        hot_words: in place of the decoder's own.
    """

    def __init__(self, decoder: BeamDecoder, hot_words: HotWords | None = None):
        hot_words = decoder.hot_words if hot_words is None else hot_words
        self._search = decoder.search
        self._hot_words: tuple[Any, Any] = (None, None)
        if hot_words is not None and len(hot_words.weights):
            self._search = decoder.with_hot_words(decoder.search, hot_words)
            self._hot_words = (np.asarray(hot_words.ids, np.int32), np.asarray(hot_words.weights, np.float32))
        self._advance = decoder.advance_stream
        self._start = self._search.start(1)
        self.restart()

    def restart(self) -> None:
        """Begins another recording."""
        self._state = self._start
        self._open: list[tuple[int, ...]] = [()] * self._search.beam_size

    def fork(self) -> BeamStream:
        """The same stream at this moment; what one decodes from here on, the other does not know."""
        return copy.copy(self)

    @property
    def best(self) -> list[int]:
        """The labels of the best text of this moment that are not final."""
        return list(self._open[int(np.argmax(self._alive()))])  # they are sorted

    def _alive(self) -> np.ndarray:
        return np.asarray(self._state.paths).sum(axis=(0, 2)) > 0

    def push(self, log_probs: Any) -> list[int]:
        """Decodes log_probs [T',V+1], the next frames: the labels that are final now and were not before."""
        log_probs = np.asarray(log_probs, np.float32)[None]
        frames = np.array([log_probs.shape[1]], np.int32)
        self._state, *found = self._advance(self._state, log_probs, frames, *self._hot_words)
        before, labels, label_len = map(np.asarray, found)
        self._open = [
            (*self._open[source], *new[:n].tolist()) for source, new, n in zip(before, labels, label_len, strict=True)
        ]
        alive = self._alive()
        best = self._open[int(np.argmax(alive))]  # they are sorted
        if len(best) > _MOST_OPEN:
            decided = best[:-_MOST_OPEN]
            alive &= [text[: len(decided)] == decided for text in self._open]
            paths, hashes = self._state.paths, self._state.hashes
            kept = ops.convert_to_tensor(alive[None, :, None])
            self._state = self._state._replace(
                paths=ops.where(kept, paths, 0.0), hashes=ops.where(kept, hashes, ops.zeros_like(hashes))
            )
        possible = [text for text, is_alive in zip(self._open, alive, strict=True) if is_alive]
        shortest, longest = min(possible), max(possible)
        same = next((n for n, (a, b) in enumerate(zip(shortest, longest, strict=False)) if a != b), len(shortest))
        # A space at the end of the recording is no part of its text.
        same = min(same, *(max(0, len(text) - 1) for text in possible))
        self._open = [text[same:] for text in self._open]
        return list(shortest[:same])

    def finish(self) -> list[int]:
        """The rest of the labels; after that no more frames can be given."""
        return self.finish_n_best(1)[0][0]

    def finish_n_best(self, count: int) -> list[tuple[list[int], float]]:
        """`finish`, with the next best texts up to `count`: what each adds to the final labels, and its score."""
        scores, entries = (np.asarray(column)[0] for column in self._search.finish(self._state, count))
        found = [(list(self._open[k]), float(score)) for k, score in zip(entries, scores, strict=True)]
        texts = [(rest, score) for rest, score in found if score > _LEAST_SCORE] or found[:1]
        space = self._search.packer.space
        return [(rest[:-1] if rest and rest[-1] == space else rest, score) for rest, score in texts]
