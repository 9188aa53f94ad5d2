"""Beam search over a stream, with a language model and hot words."""

from __future__ import annotations

import numpy as np

from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.hot_words import HotWords
from jasper_tf.decoding.beam.stream import BeamStream
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.inference.streaming.live_decoder import LiveDecoder
from jasper_tf.inference.transcript import ScoredText

_KEPT_S = 1.0
"""A text that is behind now may win, with its first letter somewhat earlier."""

_LONGEST_N_BEST = 4096
"""Labels of a text that is kept for its n best; without a pause it has no end."""


class BeamLiveDecoder(LiveDecoder):
    """Beam search as the frames come; labels are decided when all texts of the beam have them.

    Times and confidences are those of the most probable path of the best text when a word becomes final.

    Args:
        decoder: its search, language model and hot words.
        frame_s: seconds of a frame.
        hot_words: in place of the decoder's own.
    """

    def __init__(self, decoder: BeamDecoder, frame_s: float, hot_words: HotWords | None = None):
        super().__init__(decoder.tokenizer, frame_s, decoder.word_aggregation)
        self._decoder = decoder
        self._stream = BeamStream(decoder, hot_words)
        self._decided: list[int] = []  # labels whose frames are kept
        self._dropped: list[int] = []  # those of the text before
        self._count = decoder.config.hypotheses
        self._kept = round(_KEPT_S / frame_s)

    def _advance(self, log_probs: np.ndarray) -> tuple[Hypotheses, int]:
        self._decided += self._stream.push(log_probs)
        return self._with_times(self._frames, self._decided + self._stream.best), len(self._decided)

    def _peek(self, log_probs: np.ndarray) -> Hypotheses:
        ahead = self._stream.fork()
        decided = self._decided + ahead.push(log_probs)
        return self._with_times(np.concatenate([self._frames, log_probs]), decided + ahead.best)

    def _end(self) -> Hypotheses:
        best, *others = self._stream.finish_n_best(self._count)
        whole = self._with_times(self._frames, self._decided + best[0])
        self.n_best = None
        if self._count > 1 and len(self._dropped) <= _LONGEST_N_BEST:
            decided, decode = self._dropped + self._decided, self.tokenizer.decode
            self.n_best = tuple(ScoredText(decode(decided + rest), score) for rest, score in (best, *others))
        self._stream.restart()
        self._decided, self._dropped = [], []
        return whole

    def _drop(self, frames: int, labels: int) -> None:
        super()._drop(frames, labels)
        if self._count > 1 and len(self._dropped) <= _LONGEST_N_BEST:
            self._dropped += self._decided[:labels]
        del self._decided[:labels]

    def _with_times(self, frames: np.ndarray, labels: list[int]) -> Hypotheses:
        given = np.array([labels], np.int32).reshape(1, -1), np.array([len(labels)], np.int32)
        return self._decoder.with_times(frames[None], np.array([len(frames)], np.int32), *given)
