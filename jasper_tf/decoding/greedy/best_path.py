"""Best path decoding: the best class of each frame, repeats collapsed, blanks dropped."""

from __future__ import annotations

from typing import Any

import numpy as np

from jasper_tf.decoding.confidence import label_confidence
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.ops.numpy_ops import ops_of


def best_path(logits: Any, logit_len: Any) -> Hypotheses:
    """Returns the best path of NumPy arrays or of tensors, as `Hypotheses` without the axis K.

    Args:
        logits: [B,T',V+1], or log-probabilities.
        logit_len: [B] integers, valid frames.
    """
    ops = ops_of(logits)
    logits = ops.cast(logits, "float32")
    logit_len = ops.cast(logit_len, "int32")[:, None]
    batch, frames, classes = ops.shape(logits)
    blank = classes - 1

    frame = ops.arange(frames, dtype="int32")[None, :]
    best = ops.cast(ops.argmax(logits, axis=-1), "int32")
    previous = ops.concatenate([ops.full((batch, 1), -1, dtype="int32"), best[:, :-1]], axis=1)[:, :frames]
    run_begins = ops.logical_and(frame < logit_len, best != previous)

    # Sorting the frame numbers at which runs begin packs the runs to the left; all other columns come after them.
    begin = ops.sort(ops.where(run_begins, frame, frames), axis=1)
    is_run = begin < frames
    end = ops.minimum(ops.concatenate([begin[:, 1:], ops.full((batch, 1), frames, dtype="int32")], axis=1), logit_len)
    end = end[:, :frames]
    begin = ops.where(is_run, begin, 0)
    run_id = ops.take_along_axis(best, begin, axis=1)

    # The same packing once more, now leaving out the runs of blanks.
    is_label = ops.logical_and(is_run, run_id != blank)
    column = ops.sort(ops.where(is_label, frame, frames), axis=1)
    kept = column < frames
    column = ops.where(kept, column, 0)

    def pack(values, padding):
        return ops.where(kept, ops.take_along_axis(values, column, axis=1), padding)

    label_len = ops.sum(ops.cast(kept, "int32"), axis=1)
    start_frame, end_frame = pack(begin, 0), pack(end, 0)
    # Without `initial` keras.ops refuses no frames.
    log_posterior = ops.max(ops.log_softmax(logits, axis=-1), axis=-1, initial=-np.inf)
    posterior = ops.exp(log_posterior)
    certain = label_confidence(posterior, logit_len[:, 0], start_frame, end_frame, label_len, "mean", True)
    return Hypotheses(
        labels=pack(run_id, -1),
        label_len=label_len,
        start_frame=start_frame,
        end_frame=end_frame,
        confidence=ops.minimum(certain, 1.0),
        score=ops.sum(ops.where(frame < logit_len, log_posterior, 0.0), axis=1),
    )
