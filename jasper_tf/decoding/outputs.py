"""What a recognizer returns of its hypotheses, as flat TensorFlow tensors: the same in Python and in a SavedModel."""

from __future__ import annotations

from typing import Any

import numpy as np

from jasper_tf.decoding.decoder import Hypotheses
from jasper_tf.decoding.words import utterance_confidence, word_outputs
from jasper_tf.text.tokenizer import Tokenizer


def text_outputs(
    hypotheses: Hypotheses, tokenizer: Tokenizer, frame_s: float, aggregation: str, words: bool = True
) -> dict[str, Any]:
    """Returns texts, confidences and words of the best hypotheses, and the n-best.

    Args:
        hypotheses: of a decoder.
        tokenizer: of the model.
        frame_s: seconds of one frame of the log-probabilities.
        aggregation: the decoder's `word_aggregation`.
        words: whether words are wanted.

    Returns:
        text [B] string, confidence [B] float32; with `words` also those of `word_outputs`; where K is more than 1,
        n_best_text [B,K] string and n_best_score [B,K] float32, the best first; where a beam had fewer texts, the
        others are empty, and their scores below -1e29.
    """
    import tensorflow as tf  # strings are TensorFlow's

    best = hypotheses.best()
    found = {"text": tokenizer.decode_in_graph(best.labels), "confidence": utterance_confidence(best)}
    if words:
        found |= word_outputs(best, tokenizer, frame_s, aggregation)
    if hypotheses.labels.shape[1] != 1:
        labels = hypotheses.labels
        flat = tf.reshape(labels, [-1, tf.shape(labels)[2]])
        texts = tf.reshape(tokenizer.decode_in_graph(flat), tf.shape(labels)[:2])
        found["n_best_text"] = tf.where(hypotheses.score > -1e29, texts, "")
        found["n_best_score"] = hypotheses.score
    return found


class TextOutputs:
    """`text_outputs` as NumPy arrays, by graphs for all shapes: operation by operation a batch takes 10 ms longer.

    Args:
        tokenizer: of the model.
        frame_s: seconds of one frame of the log-probabilities.
    """

    def __init__(self, tokenizer: Tokenizer, frame_s: float):
        self._tokenizer, self._frame_s = tokenizer, frame_s
        self._graphs: dict[tuple[bool, str, bool], Any] = {}

    def __call__(self, hypotheses: Hypotheses, aggregation: str, words: bool = True) -> dict[str, np.ndarray]:
        key = hypotheses.labels.shape[1] == 1, aggregation, words
        if key not in self._graphs:
            self._graphs[key] = self._trace(*key)
        return {name: np.asarray(value) for name, value in self._graphs[key](*hypotheses).items()}

    def _trace(self, is_one: bool, aggregation: str, words: bool) -> Any:
        import tensorflow as tf  # as in `text_outputs`

        count = 1 if is_one else None
        integers, floats = (tf.TensorSpec([None, count, None], kind) for kind in (tf.int32, tf.float32))
        spec = Hypotheses(
            labels=integers,
            label_len=tf.TensorSpec([None, count], tf.int32),
            start_frame=integers,
            end_frame=integers,
            confidence=floats,
            score=tf.TensorSpec([None, count], tf.float32),
        )

        @tf.function(input_signature=spec, autograph=False)
        def trace(*columns):
            return text_outputs(Hypotheses(*columns), self._tokenizer, self._frame_s, aggregation, words)

        return trace
