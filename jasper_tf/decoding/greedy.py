"""Greedy CTC decoding: the best class of each frame, repeats collapsed, blanks dropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import keras
from keras import ops


class GreedyLabels(NamedTuple):
    """What `greedy_decode` emits, one column per label, padded on the right to the number of frames.

    ids: [B,T'] int32, -1 where padded.
    ids_len: [B] int32, how many labels each utterance has.
    start_frame, end_frame: [B,T'] int32, the frames start <= t < end that a label fills; 0 where padded.
    confidence: [B,T'] float32, the mean posterior of a label over its frames; 0 where padded.
    """

    ids: Any
    ids_len: Any
    start_frame: Any
    end_frame: Any
    confidence: Any


def greedy_decode(logits: Any, logit_len: Any) -> GreedyLabels:
    """Best path decoding (Graves et al. 2006, section 3.2; NeMo: cut to the length, collapse repeats, drop blanks).

    Works in a graph with unknown shapes. Ties go to the lower class.

    Args:
        logits: [B,T',V+1] logits or log-probabilities; the blank is the last class.
        logit_len: [B] integers, the valid frames; frames behind them are never looked at.

    Returns:
        GreedyLabels
    """
    logits = ops.cast(logits, "float32")
    logit_len = ops.cast(logit_len, "int32")[:, None]
    batch, frames, classes = ops.shape(logits)
    blank = classes - 1

    frame = ops.arange(frames, dtype="int32")[None, :]
    best = ops.cast(ops.argmax(logits, axis=-1), "int32")
    previous = ops.concatenate([ops.full((batch, 1), -1, dtype="int32"), best[:, :-1]], axis=1)[:, :frames]
    run_begins = ops.logical_and(frame < logit_len, best != previous)

    # Sorting the frame numbers at which runs begin packs the runs to the left; what is not a run sorts behind them.
    begin = ops.sort(ops.where(run_begins, frame, frames), axis=1)
    is_run = begin < frames
    end = ops.minimum(ops.concatenate([begin[:, 1:], ops.full((batch, 1), frames, dtype="int32")], axis=1), logit_len)
    end = end[:, :frames]
    begin = ops.where(is_run, begin, 0)
    run_id = ops.take_along_axis(best, begin, axis=1)

    posterior = ops.take_along_axis(ops.softmax(logits, axis=-1), best[:, :, None], axis=2)[:, :, 0]
    posterior_before = ops.pad(ops.cumsum(posterior, axis=1), [[0, 0], [1, 0]])
    in_run = ops.take_along_axis(posterior_before, end, axis=1) - ops.take_along_axis(posterior_before, begin, axis=1)
    confidence = in_run / ops.cast(ops.maximum(end - begin, 1), "float32")

    # The same packing once more, now leaving out the runs of blanks.
    is_label = ops.logical_and(is_run, run_id != blank)
    column = ops.sort(ops.where(is_label, frame, frames), axis=1)
    kept = column < frames
    column = ops.where(kept, column, 0)

    def pack(values, padding):
        return ops.where(kept, ops.take_along_axis(values, column, axis=1), padding)

    return GreedyLabels(
        ids=pack(run_id, -1),
        ids_len=ops.sum(ops.cast(kept, "int32"), axis=1),
        start_frame=pack(begin, 0),
        end_frame=pack(end, 0),
        confidence=ops.clip(pack(confidence, 0.0), 0.0, 1.0),
    )


@keras.saving.register_keras_serializable(package="jasper_tf")
class GreedyTextDecoder(keras.layers.Layer):
    """Greedy decoding to text inside a TensorFlow graph; Python transcription and the SavedModel both call it.

    Args:
        labels: the V texts of the classes, the blank not among them.

    Call arguments:
        logits: [B,T',V+1] logits or log-probabilities.
        logit_len: [B] integers.

    Returns:
        tf.string [B], UTF-8.
    """

    def __init__(self, labels: Sequence[str], **kwargs: Any):
        # float32 always: rounded to bfloat16 the best two classes often tie.
        super().__init__(**{**kwargs, "dtype": "float32"})
        self.labels = list(labels)

    def call(self, logits, logit_len):
        return self.texts(greedy_decode(logits, logit_len))

    def texts(self, greedy: GreedyLabels):
        """The texts [B] tf.string of what `greedy_decode` returned."""
        import tensorflow as tf

        padding = len(self.labels)
        alphabet = tf.constant([*self.labels, ""])
        return tf.strings.reduce_join(tf.gather(alphabet, tf.where(greedy.ids < 0, padding, greedy.ids)), axis=1)

    def compute_output_spec(self, logits, logit_len):
        return keras.KerasTensor((logits.shape[0],), dtype="string")

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["dtype"]
        return {**config, "labels": self.labels}
