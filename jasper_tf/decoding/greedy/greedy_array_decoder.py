"""Greedy decoding of NumPy arrays."""

from __future__ import annotations

from typing import Any

import numpy as np

from jasper_tf.config.sections.confidence_schema import ConfidenceConfig
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.greedy.best_path import best_path
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder


class GreedyArrayDecoder(HypothesisDecoder):
    """What `GreedyDecoder` gives, of NumPy arrays and without Keras, whose import takes seconds.

    Args:
        confidence: NeMo's `confidence_cfg`.
    """

    def __init__(self, confidence: ConfidenceConfig | None = None):
        self.confidence = confidence if confidence is not None and confidence.is_active else None

    def decode(self, log_probs: Any, logit_len: Any, hot_words: GivenHotWords | None = None) -> Hypotheses:
        if hot_words is not None:
            self.encode_hot_words(hot_words)
        best = self.best_path(np.asarray(log_probs), np.asarray(logit_len))
        return Hypotheses(*(column[:, None] for column in best))

    def best_path(self, log_probs: np.ndarray, logit_len: np.ndarray) -> Hypotheses:
        """log_probs [B,T',V+1], logit_len [B] -> `Hypotheses.best()`."""
        return self.with_confidence(best_path(log_probs, logit_len), log_probs, logit_len)
