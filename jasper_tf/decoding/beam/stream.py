"""Beam search over a recording in parts, in constant memory."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from keras import ops

from jasper_tf.decoding.beam.beam_decoder import BeamDecoder, join
from jasper_tf.decoding.gather import is_tensorflow

_MOST_OPEN = 256
"""Labels behind which a difference between texts is decided for the best one of this moment."""


class BeamStream:
    """Decodes one recording part by part: the same labels as of the whole, if texts do not compete for too long.

    What the K texts that are still possible have in common is final; only where they differ it is kept. Of texts that
    differ more than `_MOST_OPEN` labels ago the best one wins.

    Args:
        decoder: its search, language model and hot words.
    """

    def __init__(self, decoder: BeamDecoder):
        self._search = decoder.search
        if decoder.hot_words is not None:
            self._search = decoder.with_hot_words(decoder.search, decoder.hot_words)
        self._state = self._search.start(1)
        self._open: list[tuple[int, ...]] = [()] * self._search.beam_size
        self._advance = self._follow
        if is_tensorflow():
            import tensorflow as tf  # the only backend that runs loops op by op where nothing is traced

            self._advance = tf.function(self._follow, autograph=False, reduce_retracing=True)

    def push(self, log_probs: Any) -> list[int]:
        """Decodes log_probs [T',V+1], the next frames: the labels that are final now and were not before."""
        log_probs = np.asarray(log_probs, np.float32)[None]
        self._state, *found = self._advance(self._state, log_probs, np.array([log_probs.shape[1]], np.int32))
        before, labels, label_len = map(np.asarray, found)
        self._open = [
            (*self._open[source], *new[:n].tolist()) for source, new, n in zip(before, labels, label_len, strict=True)
        ]
        alive = np.asarray(self._state.paths).sum(axis=(0, 2)) > 0
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
        _, entries = self._search.finish(self._state, 1)
        rest = list(self._open[int(np.asarray(entries)[0, 0])])
        return rest[:-1] if rest and rest[-1] == self._search.packer.space else rest

    def _follow(self, state, log_probs, logit_len):
        state, trace = self._search.advance(state, ops.log_softmax(log_probs, axis=-1), logit_len)
        before, of_frames = trace.follow(ops.arange(self._search.beam_size, dtype="int32"))
        return state, before, *join(of_frames, self._search.packer, is_whole=False)


def decode_parts(decoder: BeamDecoder, parts: Iterable[Any]) -> Iterator[list[int]]:
    """Decodes the parts [T',V+1] of a recording, each when it comes: yields the labels that are final after each."""
    stream = BeamStream(decoder)
    for part in parts:
        yield stream.push(part)
    yield stream.finish()
