"""Greedy decoding of a stream."""

from __future__ import annotations

import numpy as np

from jasper_tf.decoding.greedy.greedy_array_decoder import GreedyArrayDecoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.inference.streaming.live_decoder import LiveDecoder
from jasper_tf.text.tokenizer import Tokenizer


class GreedyLiveDecoder(LiveDecoder):
    """Best path decoding as the frames come: the same words as of the whole.

    Args:
        decoder: of the frames of the words that are not final.
    """

    def __init__(self, decoder: GreedyDecoder | GreedyArrayDecoder, tokenizer: Tokenizer, frame_s: float):
        super().__init__(tokenizer, frame_s, decoder.word_aggregation)
        self._decoder = decoder

    def _advance(self, log_probs: np.ndarray) -> tuple[Hypotheses, int]:
        best = self._decode(self._frames)
        return best, int(best.label_len[0])

    def _peek(self, log_probs: np.ndarray) -> Hypotheses:
        return self._decode(np.concatenate([self._frames, log_probs]))

    def _end(self) -> Hypotheses:
        return self._decode(self._frames)

    def _decode(self, frames: np.ndarray) -> Hypotheses:
        return self._decoder.best_path(frames[None], np.array([len(frames)], np.int32))
