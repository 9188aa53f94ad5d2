"""Greedy CTC decoding: the best class of each frame, repeats collapsed, blanks dropped."""

from __future__ import annotations

import functools
from typing import Any

import keras
from keras import ops

from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.greedy.best_path import best_path
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.ops.gather import traced


@keras.saving.register_keras_serializable(package="jasper_tf")
class GreedyDecoder(Decoder):
    """Best path decoding (Graves et al. 2006, section 3.2; NeMo: cut to the length, collapse repeats, drop blanks).

    Ties go to the lower class. K is 1, U is T', and the score is the log-probability of the best path.
    """

    def call(self, log_probs, logit_len) -> Hypotheses:
        best = self.with_confidence(best_path(log_probs, logit_len), log_probs, logit_len)
        return Hypotheses(*(column[:, None] for column in best))

    def decode(self, log_probs, logit_len, hot_words: GivenHotWords | None = None) -> Hypotheses:
        if hot_words is not None:
            self.encode_hot_words(hot_words)
        best = self.best_path(ops.cast(log_probs, "float32"), ops.cast(logit_len, "int32"))
        return Hypotheses(*(column[:, None] for column in best))

    @functools.cached_property
    def best_path(self) -> Any:
        """Traced: log_probs [B,T',V+1], logit_len [B] -> `Hypotheses.best()`; the same for all streams."""
        return traced(lambda log_probs, logit_len: self(log_probs, logit_len).best())

    def compute_output_spec(self, log_probs, logit_len) -> Hypotheses:
        batch, frames, _ = log_probs.shape
        return Hypotheses.spec(batch, 1, frames)
