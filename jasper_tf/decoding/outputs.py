"""What a recognizer returns of its hypotheses, as flat arrays: the same in Python and in a SavedModel."""

from __future__ import annotations

from typing import Any

import numpy as np

from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.words import group_words, utterance_confidence, word_outputs
from jasper_tf.text.tokenizer import Tokenizer


def text_outputs(
    hypotheses: Hypotheses, tokenizer: Tokenizer, frame_s: float, aggregation: str, words: bool = True
) -> dict[str, Any]:
    """Returns texts, confidences and words of the best hypotheses, and the n-best, as TensorFlow tensors.

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
    """`text_outputs` as NumPy arrays, without TensorFlow.

    Args:
        tokenizer: of the model.
        frame_s: seconds of one frame of the log-probabilities.
    """

    def __init__(self, tokenizer: Tokenizer, frame_s: float):
        self._tokenizer, self._frame_s = tokenizer, frame_s

    def __call__(self, hypotheses: Hypotheses, aggregation: str, words: bool = True) -> dict[str, np.ndarray]:
        hypotheses = Hypotheses(*map(np.asarray, hypotheses))
        best = hypotheses.best()
        found = {"text": self._texts(best.labels), "confidence": utterance_confidence(best)}
        if words:
            found |= self._words(best, aggregation)
        batch, count, _ = hypotheses.labels.shape
        if count != 1:
            texts = self._texts(hypotheses.labels.reshape(batch * count, -1)).reshape(batch, count)
            found["n_best_text"] = np.where(hypotheses.score > -1e29, texts, b"")
            found["n_best_score"] = hypotheses.score
        return found

    def _texts(self, labels: np.ndarray) -> np.ndarray:
        texts = [self._tokenizer.decode(row[row >= 0].tolist()) for row in labels]
        return _strings(texts)

    def _words(self, best: Hypotheses, aggregation: str) -> dict[str, np.ndarray]:
        words = group_words(best, self._tokenizer, aggregation)
        is_word = np.arange(best.labels.shape[1]) < words.words_len[:, None]
        in_word = words.word_of_label >= 0
        number = words.word_of_label + (np.cumsum(words.words_len) - words.words_len)[:, None]
        texts = [""] * int(words.words_len.sum())
        for n, label in zip(number[in_word].tolist(), best.labels[in_word].tolist(), strict=True):
            texts[n] += self._tokenizer.word_pieces[label]
        return {
            "words": _strings(texts),
            "words_start_s": words.start_frame[is_word].astype(np.float32) * self._frame_s,
            "words_end_s": words.end_frame[is_word].astype(np.float32) * self._frame_s,
            "words_confidence": words.confidence[is_word],
            "words_row_lengths": words.words_len.astype(np.int64),
        }


def _strings(texts: list[str]) -> np.ndarray:
    """Texts as TensorFlow has them, in UTF-8."""
    return np.array([text.encode() for text in texts], object)
