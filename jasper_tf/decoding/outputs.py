"""What a recognizer returns of its hypotheses, as flat TensorFlow tensors: the same in Python and in a SavedModel."""

from __future__ import annotations

from typing import Any

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
