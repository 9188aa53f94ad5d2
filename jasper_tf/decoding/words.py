"""Groups labels into words in the graph, with times and confidences."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from jasper_tf.decoding.confidence import aggregate
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.ops.numpy_ops import ops_of
from jasper_tf.text.tokenizer import Tokenizer


class Words(NamedTuple):
    """The words of one hypothesis for each utterance, one column per word, padded on the right to U.

    words_len: [B] int32, how many words each utterance has.
    start_frame, end_frame: [B,U] int32, the frames start <= t < end from a word's first label to its last; 0 where
        padded.
    confidence: [B,U] float32, of the word's labels; 0 where padded.
    word_of_label: [B,U] int32, for each label the number of its word; -1 for what is in no word (spaces, padding).
    """

    words_len: Any
    start_frame: Any
    end_frame: Any
    confidence: Any
    word_of_label: Any


def group_words(best: Hypotheses, tokenizer: Tokenizer, aggregation: str = "min") -> Words:
    """Groups labels into words in the graph, with the same results as `alignment.join_words`.

    CTC posteriors are peaky: a word lasts from the first frame of its first label to the last frame of its last label,
    usually shorter than spoken.

    Args:
        best: one hypothesis for each utterance: `Hypotheses.best()`.
        tokenizer: of the model.
        aggregation: of the confidences of a word's labels: the decoder's `word_aggregation`.
    """
    ops = ops_of(best.labels)
    rows, columns = ops.shape(best.labels)
    column = ops.arange(columns, dtype="int32")[None, :]
    label = ops.where(best.labels < 0, len(tokenizer), best.labels)
    starts = ops.take(np.append(tokenizer.starts_word, False), label, axis=0)
    ends = ops.take(np.append(tokenizer.ends_word, False), label, axis=0)
    outside = ops.zeros((rows, 1), dtype="bool")
    starts = ops.logical_or(starts, ops.concatenate([outside, ends[:, :-1]], axis=1)[:, :columns])
    in_word = ops.take(np.array([*map(bool, tokenizer.word_pieces), False]), label, axis=0)
    # Sorting the columns of the labels that are in words packs them to the left, past those that write nothing.
    at = ops.sort(ops.where(in_word, column, columns), axis=1)
    is_packed = at < columns
    at = ops.where(is_packed, at, 0)
    part = ops.take_along_axis(ops.cumsum(ops.cast(starts, "int32"), axis=1), at, axis=1)
    before = ops.concatenate([ops.full((rows, 1), -1, dtype="int32"), part[:, :-1]], axis=1)[:, :columns]
    begins = ops.logical_and(is_packed, part != before)
    goes_on = ops.logical_and(is_packed, ops.logical_not(begins))
    behind = ops.concatenate([goes_on[:, 1:], outside], axis=1)[:, :columns]
    ends = ops.logical_and(is_packed, ops.logical_not(behind))

    words_len = ops.sum(ops.cast(begins, "int32"), axis=1)
    is_word = column < words_len[:, None]

    def pack(where, values):
        chosen = ops.sort(ops.where(where, at, columns), axis=1)
        return ops.where(is_word, ops.take_along_axis(values, ops.where(is_word, chosen, 0), axis=1), 0)

    word = ops.cumsum(ops.cast(begins, "int32"), axis=1) - 1
    number = ops.maximum(ops.cumsum(ops.cast(in_word, "int32"), axis=1) - 1, 0)
    word_of_label = ops.where(in_word, ops.take_along_axis(word, number, axis=1), -1)
    return Words(
        words_len=words_len,
        start_frame=pack(begins, best.start_frame),
        end_frame=pack(ends, best.end_frame),
        confidence=aggregate(best.confidence, word_of_label, columns, aggregation),
        word_of_label=word_of_label,
    )


def utterance_confidence(best: Hypotheses) -> Any:
    """[B] float32, 0 to 1: the mean of the confidences of an utterance's labels, spaces included; 0 without any.

    Label by label, so that a long label weighs no more than a short one.
    """
    ops = ops_of(best.confidence)
    total = ops.sum(best.confidence, axis=1)
    return total / ops.cast(ops.maximum(best.label_len, 1), "float32")


def word_strings(best: Hypotheses, words: Words, tokenizer: Tokenizer) -> Any:
    """Returns the words as TensorFlow strings [W], in the order of the utterances; W is the sum of `words_len`."""
    import tensorflow as tf  # the functions above run without TensorFlow

    first = tf.cumsum(words.words_len, exclusive=True)[:, None]
    in_word = words.word_of_label >= 0
    pieces = tf.gather(tf.constant(tokenizer.word_pieces), tf.boolean_mask(best.labels, in_word))
    number = tf.boolean_mask(words.word_of_label + first, in_word)
    return tf.strings.unsorted_segment_join(pieces, number, tf.reduce_sum(words.words_len))


def word_outputs(best: Hypotheses, tokenizer: Tokenizer, frame_s: float, aggregation: str = "min") -> dict[str, Any]:
    """Returns confidences, and the words of all utterances in one list, as TensorFlow tensors.

    Returns:
        confidence [B] float32 (`utterance_confidence`), words [W] string, words_start_s, words_end_s (seconds),
        words_confidence [W] float32, and words_row_lengths [B] int64: how many words belong to each utterance
        (tf.RaggedTensor.from_row_lengths).
    """
    import tensorflow as tf  # as in `word_strings`

    words = group_words(best, tokenizer, aggregation)
    is_word = tf.sequence_mask(words.words_len, tf.shape(best.labels)[1])

    def flat(values):
        return tf.cast(tf.boolean_mask(values, is_word), tf.float32)

    return {
        "confidence": utterance_confidence(best),
        "words": word_strings(best, words, tokenizer),
        "words_start_s": flat(words.start_frame) * frame_s,
        "words_end_s": flat(words.end_frame) * frame_s,
        "words_confidence": flat(words.confidence),
        "words_row_lengths": tf.cast(words.words_len, tf.int64),
    }
