"""Base class of decoders: log-probabilities to hypotheses of fixed shapes, in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import keras

from jasper_tf.config.sections.confidence_schema import ConfidenceConfig, read_confidence
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder


class Decoder(HypothesisDecoder, keras.layers.Layer):
    """Base class of decoders. Subclasses implement `call`, in `keras.ops` or TensorFlow's operations.

    Args:
        confidence: NeMo's `confidence_cfg`, a section or its plain values; None, or one that is not active: mean
            posteriors, and for a word the lowest of its labels.

    Call arguments:
        log_probs: [B,T',V+1] log-probabilities, or logits; the blank is the last class.
        logit_len: [B] integers, valid frames; later ones have no effect.

    Returns:
        Hypotheses
    """

    def __init__(self, confidence: ConfidenceConfig | Mapping[str, Any] | None = None, **kwargs: Any):
        # float32 always: rounded to bfloat16 the best two classes often tie.
        super().__init__(**{**kwargs, "dtype": "float32"})
        if confidence is not None and not isinstance(confidence, ConfidenceConfig):
            confidence = read_confidence(confidence)
        self.confidence = confidence if confidence is not None and confidence.is_active else None

    def call(self, log_probs, logit_len) -> Hypotheses:
        raise NotImplementedError

    def decode(self, log_probs: Any, logit_len: Any, hot_words: GivenHotWords | None = None) -> Hypotheses:
        """See `HypothesisDecoder`; as `call` with hot words as they are given."""
        if hot_words is None:
            return self(log_probs, logit_len)
        return self(log_probs, logit_len, self.encode_hot_words(hot_words))

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dtype"]
        return {**config, "confidence": None if self.confidence is None else asdict(self.confidence)}
