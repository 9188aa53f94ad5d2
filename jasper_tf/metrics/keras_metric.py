"""Word and character error rate as a Keras metric, counted while the model trains and evaluates."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.metrics.error_rate import Unit, count_errors
from jasper_tf.text.tokenizer import Tokenizer, tokenizer_from_config


@keras.saving.register_keras_serializable(package="jasper_tf")
class ErrorRate(keras.metrics.Metric):
    """Error rate of all decoded texts since the last reset, equal to jiwer's for the whole set.

    The decoding runs in the graph, the counting on the host, so the step must not be compiled with XLA. The counts are
    summed over the replicas of a `tf.distribute` strategy.

    Args:
        tokenizer: of the model.
        unit: "word" or "character".
        decoder: from log-probabilities to labels: `model.decoding`. Default: that of the default configuration.
        name: "wer" or "cer" unless given.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        unit: Unit = "word",
        decoder: Decoder | None = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        if unit not in ("word", "character"):
            raise ValueError(f'unit must be "word" or "character", not {unit!r}')
        super().__init__(name=name or {"word": "wer", "character": "cer"}[unit], **kwargs)
        self.tokenizer = tokenizer
        self.unit = unit
        self.decoder = decoder or build_decoder(DecodingConfig())
        self.counts = self.add_variable((4,), "zeros", dtype="int64", name="counts")

    def update_state(self, y_true: dict, y_pred: dict, sample_weight: Any = None) -> None:
        """Counts one batch.

        Args:
            y_true: {"labels": [B,U] integers, "label_len": [B]}.
            y_pred: {"logits": [B,T',V+1], "logit_len": [B]}.
            sample_weight: [B]; rows of weight 0 are left out, every other weight counts as 1.
        """
        best = self.decoder(y_pred["logits"], y_pred["logit_len"]).best()
        label_len = tf.cast(y_true["label_len"], tf.int32)
        keep = tf.ones_like(label_len, tf.bool) if sample_weight is None else tf.not_equal(sample_weight, 0)
        counts = tf.numpy_function(
            self._count, [y_true["labels"], label_len, best.labels, best.label_len, keep], tf.int64, stateful=False
        )
        self.counts.assign_add(tf.ensure_shape(counts, (4,)))

    def _count(self, labels, label_len, ids, ids_len, keep) -> np.ndarray:
        def texts(rows, lengths):
            return [
                self.tokenizer.decode(row[:length])
                for row, length, kept in zip(rows, lengths, keep, strict=True)
                if kept
            ]

        counts = count_errors(texts(labels, label_len), texts(ids, ids_len), self.unit)
        return np.array([counts.hits, counts.substitutions, counts.insertions, counts.deletions], np.int64)

    def result(self):
        counts = keras.ops.cast(self.counts, "float32")
        hits, substitutions, insertions, deletions = counts[0], counts[1], counts[2], counts[3]
        reference = hits + substitutions + deletions
        return (substitutions + insertions + deletions) / keras.ops.maximum(reference, 1.0)

    def get_config(self) -> dict[str, Any]:
        decoder = keras.saving.serialize_keras_object(self.decoder)
        return {**super().get_config(), "tokenizer": self.tokenizer.get_config(), "unit": self.unit, "decoder": decoder}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> ErrorRate:
        tokenizer = tokenizer_from_config(config.pop("tokenizer"))
        decoder = keras.saving.deserialize_keras_object(config.pop("decoder"))
        return cls(tokenizer, decoder=decoder, **config)
