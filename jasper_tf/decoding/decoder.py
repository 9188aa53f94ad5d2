"""Base class of decoders: log-probabilities to hypotheses of fixed shapes, in the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, NamedTuple, Self

import keras
from keras import ops

from jasper_tf.config.sections.confidence_schema import ConfidenceConfig, read_confidence
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.confidence import frame_confidence, label_confidence
from jasper_tf.errors import UserError


class Hypotheses(NamedTuple):
    """The K best label sequences of each utterance, the best first, padded on the right.

    labels: [B,K,U] int32, -1 where padded.
    label_len: [B,K] int32, how many labels each has.
    start_frame, end_frame: [B,K,U] int32, the frames start <= t < end that a label fills; 0 where padded.
    confidence: [B,K,U] float32, the mean posterior of a label over its frames, or as the decoder's `confidence` says;
        0 where padded.
    score: [B,K] float32, natural logarithm, as the decoder defines it.
    """

    labels: Any
    label_len: Any
    start_frame: Any
    end_frame: Any
    confidence: Any
    score: Any

    def best(self) -> Self:
        """Returns the best of each utterance: the same fields without the axis K."""
        return type(self)(*(column[:, 0] for column in self))

    @classmethod
    def spec(cls, batch: int | None, count: int, columns: int | None) -> Self:
        """Symbolic tensors of B, K and U, for `compute_output_spec`."""
        of_labels, of_utterance = (batch, count, columns), (batch, count)
        return cls(
            labels=keras.KerasTensor(of_labels, dtype="int32"),
            label_len=keras.KerasTensor(of_utterance, dtype="int32"),
            start_frame=keras.KerasTensor(of_labels, dtype="int32"),
            end_frame=keras.KerasTensor(of_labels, dtype="int32"),
            confidence=keras.KerasTensor(of_labels, dtype="float32"),
            score=keras.KerasTensor(of_utterance, dtype="float32"),
        )


class Decoder(keras.layers.Layer):
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

    @property
    def word_aggregation(self) -> str:
        """How `group_words` makes the confidence of a word of those of its labels."""
        return "min" if self.confidence is None else self.confidence.aggregation

    def call(self, log_probs, logit_len) -> Hypotheses:
        raise NotImplementedError

    def with_confidence(self, best: Hypotheses, log_probs: Any, logit_len: Any) -> Hypotheses:
        """Returns `Hypotheses.best()` with the confidences of labels that `confidence` asks for, if it is given."""
        if self.confidence is None:
            return best
        log_probs = ops.log_softmax(ops.cast(log_probs, "float32"), axis=-1)
        certain = label_confidence(
            frame_confidence(log_probs, self.confidence.method_cfg),
            ops.cast(logit_len, "int32"),
            best.start_frame,
            best.end_frame,
            best.label_len,
            self.confidence.aggregation,
            self.confidence.exclude_blank,
        )
        return best._replace(confidence=ops.minimum(certain, 1.0))

    def decode(self, log_probs: Any, logit_len: Any, hot_words: GivenHotWords | None = None) -> Hypotheses:
        """`call` with hot words as they are given: with their weights, or without.

        `hot_words` None: those of the decoder's configuration, if any.

        Raises:
            UserError: as `encode_hot_words`.
        """
        if hot_words is None:
            return self(log_probs, logit_len)
        return self(log_probs, logit_len, self.encode_hot_words(hot_words))

    def encode_hot_words(self, hot_words: GivenHotWords) -> Any:
        """Words or phrases, with weights or without -> the `hot_words` of `call`, where a decoder has them.

        Raises:
            UserError: it has none, or a word cannot be used.
        """
        raise UserError("hot words: the greedy decoder cannot use them; choose decoding.strategy=beam")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dtype"]
        return {**config, "confidence": None if self.confidence is None else asdict(self.confidence)}
