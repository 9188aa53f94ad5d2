"""Forced alignment: the most probable CTC path of known labels, in the graph."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from keras import ops

from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.decoding.ops.gather import gather
from jasper_tf.decoding.ops.scan import scan

_CLOSED = -1e30
"""Score of a state that cannot be reached; finite, so that the difference of two of them is not NaN."""

_LOG_ZERO = -1e15
"""Used for log 0; far above `_CLOSED`, so that a path of probability 0 does not open a closed state."""


class ForcedAlignment(NamedTuple):
    """The most probable path of the labels of each utterance.

    start_frame, end_frame: [B,U] int32, the frames start <= t < end that a label fills; 0 where padded.
    score: [B] float32, the path's log-probability; -inf, with all frames 0, where no path exists: fewer frames than
        labels (and blanks between equal neighbors), or a probability of 0.
    label_score: [B,U] float32, the mean log-posterior of a label over its frames; 0 where padded.
    confidence: [B,U] float32, the mean posterior of a label over its frames; 0 where padded.
    """

    start_frame: Any
    end_frame: Any
    score: Any
    label_score: Any
    confidence: Any

    def hypotheses(self, labels: Any, label_len: Any) -> Hypotheses:
        """The aligned labels [B,U], label_len [B] with their times and confidences, without the axis K."""
        inside = ops.arange(ops.shape(labels)[1], dtype="int32") < label_len[:, None]
        return Hypotheses(
            labels=ops.where(inside, labels, -1),
            label_len=label_len,
            start_frame=self.start_frame,
            end_frame=self.end_frame,
            confidence=self.confidence,
            score=self.score,
        )


def align(log_probs: Any, logit_len: Any, labels: Any, label_len: Any) -> ForcedAlignment:
    """Viterbi search over blank, l1, blank, l2, ..., blank: one loop over the frames, O(T' U) in time.

    Memory is B T' (U + 1) bytes of back-pointers. Among paths of equal probability it takes the one with the smaller
    move at the last frame at which they differ, and the last label before the last blank (NeMo's aligner and
    `torchaudio.functional.forced_align` give the same frames).

    Args:
        log_probs: [B,T',V+1] log-probabilities; the blank is the last class.
        logit_len: [B] integers, valid frames; later ones have no effect.
        labels: [B,U] integers in [0, V), anything beyond `label_len`.
        label_len: [B] integers.
    """
    log_probs = ops.maximum(ops.cast(log_probs, "float32"), _LOG_ZERO)
    logit_len, labels, label_len = (ops.cast(x, "int32") for x in (logit_len, labels, label_len))
    batch, frames, classes = ops.shape(log_probs)
    size = ops.shape(labels)[1]
    blank = classes - 1
    inside = ops.arange(size, dtype="int32") < label_len[:, None]
    labels = ops.where(inside, labels, blank)
    row = ops.arange(batch, dtype="int32")[:, None]
    # The blank is optional between different labels, required between equal ones.
    before = ops.concatenate([ops.full((batch, 1), -1, dtype="int32"), labels], axis=1)[:, :size]
    skip_cost = ops.where(labels == before, _CLOSED, 0.0)

    def forward(carry, t):
        """Scores of the states blank 0 ... blank U [B,U+1] and label 1 ... label U [B,U] after frame t."""
        on_blank, on_label = carry
        frame = log_probs[:, t]
        emission = gather(ops.reshape(frame, [-1]), row * classes + labels)
        left = ops.pad(on_label, [[0, 0], [1, 0]], constant_values=_CLOSED)
        step, skip = on_blank[:, :-1], left[:, :-1] + skip_cost
        near = ops.maximum(on_label, step)
        new_blank = ops.maximum(on_blank, left) + frame[:, blank:]
        new_label = ops.where(inside, ops.maximum(near, skip) + emission, _CLOSED)
        # Subtracting the maximum keeps the steps of float32 small however long the utterance is.
        # `initial` is for B = 0, and avoids an assertion per frame.
        best = ops.maximum(ops.max(new_blank, axis=1, initial=_CLOSED), ops.max(new_label, axis=1, initial=_CLOSED))[
            :, None
        ]
        active = (t < logit_len)[:, None]
        label_move = ops.where(skip > near, 2, ops.cast(step > on_label, "int8"))
        moves = ops.pad(label_move, [[0, 0], [0, 1]]) + 4 * ops.cast(left > on_blank, "int8")
        carry = ops.where(active, new_blank - best, on_blank), ops.where(active, new_label - best, on_label)
        return carry, ops.where(active, moves, ops.zeros_like(moves))

    # Before the first frame only the first blank is possible, and one step leads to the first label.
    start = ops.where(ops.arange(size + 1, dtype="int32") == 0, 0.0, ops.full((batch, size + 1), _CLOSED))
    nothing = ops.full((batch, size), _CLOSED)
    (on_blank, on_label), moves = scan(forward, (start, nothing), ops.zeros((batch, size + 1), "int8"), frames)

    last = ops.maximum(label_len - 1, 0)[:, None]
    final_blank = ops.take_along_axis(on_blank, label_len[:, None], axis=1)[:, 0]
    final_label = ops.take_along_axis(ops.pad(on_label, [[0, 0], [0, 1]]), last, axis=1)[:, 0]
    ends_on_label = ops.logical_and(label_len > 0, final_label >= final_blank)
    state = 2 * label_len - ops.cast(ends_on_label, "int32")

    def backward(state, t):
        """States are numbered blank 0, label 1, blank 1, ...: 2 U + 1."""
        at = gather(ops.reshape(moves[t], [-1]), row[:, 0] * (size + 1) + state // 2)
        at = ops.cast(at, "int32")
        return state - ops.where(state % 2 == 1, at % 4, at // 4), state

    _, path = scan(backward, state, state, frames, reverse=True)
    path = ops.transpose(path)  # [B,T']

    on_path = ops.take_along_axis(ops.pad(labels, [[0, 0], [0, 1]]), path // 2, axis=1)
    on_path = ops.where(path % 2 == 1, on_path, blank)
    log_posterior = ops.take_along_axis(log_probs, on_path[:, :, None], axis=2)[:, :, 0]
    valid = ops.arange(frames, dtype="int32") < logit_len[:, None]
    score = ops.sum(ops.where(valid, log_posterior, 0.0), axis=1)
    reached = ops.maximum(final_label, final_blank) > 0.1 * _CLOSED
    possible = ops.logical_and(reached, score > 0.1 * _LOG_ZERO)

    states = 2 * size + 1
    shown = ops.logical_and(valid, possible[:, None])
    segment = ops.reshape(ops.where(shown, row * states + path, batch * states), [-1])

    def total(values):
        """[B,T'] -> the sum over the frames of each state [B,2U+1]."""
        sums = ops.segment_sum(ops.reshape(values, [-1]), segment, batch * states + 1)
        return ops.reshape(sums[:-1], (batch, states))

    count = total(ops.ones_like(path))
    of_label = count[:, 1::2]
    end_frame = ops.where(of_label > 0, ops.cumsum(count, axis=1)[:, 1::2], 0)
    divisor = ops.cast(ops.maximum(of_label, 1), "float32")
    return ForcedAlignment(
        start_frame=end_frame - of_label,
        end_frame=end_frame,
        score=ops.where(possible, score, -np.inf),
        label_score=total(log_posterior)[:, 1::2] / divisor,
        confidence=total(ops.exp(log_posterior))[:, 1::2] / divisor,
    )
