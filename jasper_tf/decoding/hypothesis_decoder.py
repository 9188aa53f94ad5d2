"""What a recognizer needs of a decoder, whatever runs it."""

from __future__ import annotations

from typing import Any

from jasper_tf.config.sections.confidence_schema import ConfidenceConfig
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.confidence import frame_confidence, label_confidence
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.ops.numpy_ops import ops_of
from jasper_tf.errors import UserError


class HypothesisDecoder:
    """Base class of the decoders in the graph (`Decoder`) and of that of NumPy arrays (`GreedyArrayDecoder`).

    Attributes:
        confidence: how labels and words get theirs; None: as `Decoder` says.
    """

    confidence: ConfidenceConfig | None = None

    @property
    def word_aggregation(self) -> str:
        """How `group_words` makes the confidence of a word of those of its labels."""
        return "min" if self.confidence is None else self.confidence.aggregation

    def decode(self, log_probs: Any, logit_len: Any, hot_words: GivenHotWords | None = None) -> Hypotheses:
        """Log-probabilities, or logits, [B,T',V+1] and valid frames [B] -> the hypotheses.

        `hot_words`: with their weights, or without. None: those of the decoder's configuration, if any.

        Raises:
            UserError: as `encode_hot_words`.
        """
        raise NotImplementedError

    def encode_hot_words(self, hot_words: GivenHotWords) -> Any:
        """Words or phrases, with weights or without -> the `hot_words` of `call`, where a decoder has them.

        Raises:
            UserError: it has none, or a word cannot be used.
        """
        raise UserError("hot words: the greedy decoder cannot use them; choose decoding.strategy=beam")

    def with_confidence(self, best: Hypotheses, log_probs: Any, logit_len: Any) -> Hypotheses:
        """Returns `Hypotheses.best()` with the confidences of labels that `confidence` asks for, if it is given."""
        if self.confidence is None:
            return best
        ops = ops_of(best.labels)
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
