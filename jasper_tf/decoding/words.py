"""Words out of greedy labels, inside a graph: which letters, from when to when, how certain."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from keras import ops

from jasper_tf.decoding.greedy import GreedyLabels


class GreedyWords(NamedTuple):
    """What `greedy_words` finds, one column per word, padded on the right to the number of frames.

    words_len: [B] int32, how many words each utterance has.
    start_frame, end_frame: [B,T'] int32, the frames start <= t < end from a word's first letter to its last; 0 where
        padded.
    confidence: [B,T'] float32, that of the word's least certain letter; 0 where padded.
    letter_word: [B,T'] int32, for each column of the greedy labels the number of its word; -1 for what is in no word
        (spaces, padding).
    """

    words_len: Any
    start_frame: Any
    end_frame: Any
    confidence: Any
    letter_word: Any


def greedy_words(greedy: GreedyLabels, labels: Sequence[str]) -> GreedyWords:
    """Spaces separate words; the same words, times and confidences as `alignment.join_words` gives, in a graph.

    A word's confidence is that of its least certain letter (NeMo: `confidence_cfg.aggregation: min`), a letter's is
    its mean posterior over the frames that it fills. CTC peaks: a word lasts from the first frame of its first letter
    to the last frame of its last letter, usually less than its sound does.

    Args:
        greedy: what `greedy_decode` returned.
        labels: the V texts of the classes; without " " among them each utterance is one word.
    """
    space = list(labels).index(" ") if " " in labels else -1
    rows, columns = ops.shape(greedy.ids)
    column = ops.arange(columns, dtype="int32")[None, :]
    is_letter = ops.logical_and(greedy.ids >= 0, greedy.ids != space)
    outside = ops.zeros((rows, 1), dtype="bool")
    before = ops.concatenate([outside, is_letter[:, :-1]], axis=1)[:, :columns]
    behind = ops.concatenate([is_letter[:, 1:], outside], axis=1)[:, :columns]
    begins = ops.logical_and(is_letter, ops.logical_not(before))
    ends = ops.logical_and(is_letter, ops.logical_not(behind))

    word = ops.cumsum(ops.cast(begins, "int32"), axis=1) - 1
    words_len = ops.sum(ops.cast(begins, "int32"), axis=1)
    is_word = column < words_len[:, None]

    def pack(where, values):
        # Sorting the columns where words begin (or end) packs them to the left.
        at = ops.sort(ops.where(where, column, columns), axis=1)
        return ops.where(is_word, ops.take_along_axis(values, ops.where(is_word, at, 0), axis=1), 0)

    # The smallest of each word; the letters of no word go into a segment behind the others.
    segment = ops.where(is_letter, ops.arange(rows, dtype="int32")[:, None] * columns + word, rows * columns)
    largest = ops.segment_max(ops.reshape(-greedy.confidence, [-1]), ops.reshape(segment, [-1]), rows * columns + 1)
    confidence = ops.reshape(-largest[:-1], (rows, columns))

    return GreedyWords(
        words_len=words_len,
        start_frame=pack(begins, greedy.start_frame),
        end_frame=pack(ends, greedy.end_frame),
        confidence=ops.where(is_word, confidence, 0.0),
        letter_word=ops.where(is_letter, word, -1),
    )


def utterance_confidence(greedy: GreedyLabels) -> Any:
    """[B] float32, 0 to 1: the mean of the confidences of an utterance's labels, spaces included; 0 without any.

    It is what NeMo calls the frame confidence `max_prob` with `exclude_blank: true` and `aggregation: mean`, label by
    label, so that a letter held for long weighs no more than a short one.
    """
    total = ops.sum(greedy.confidence, axis=1)
    return total / ops.cast(ops.maximum(greedy.ids_len, 1), "float32")


def word_strings(greedy: GreedyLabels, words: GreedyWords, labels: Sequence[str]) -> Any:
    """The words' texts as TensorFlow strings [W], those of the first utterance first; W is the sum of `words_len`."""
    import tensorflow as tf

    first = tf.cumsum(words.words_len, exclusive=True)[:, None]
    in_word = words.letter_word >= 0
    letters = tf.gather(tf.constant(list(labels)), tf.boolean_mask(greedy.ids, in_word))
    number = tf.boolean_mask(words.letter_word + first, in_word)
    return tf.strings.unsorted_segment_join(letters, number, tf.reduce_sum(words.words_len))
