"""Log-probabilities to what a step of the beam search reads: few labels a frame, sure blanks packed away."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from keras import ops

from jasper_tf.decoding.ops.gather import gather, is_tensorflow

LOG_ZERO = -1e30
"""Used for log 0; finite, so that nothing becomes NaN."""


class Frames(NamedTuple):
    """The frames that a search walks through, packed to the left; A labels of each are tried.

    A frame after the last of its utterance is a blank of probability 1, which changes nothing.

    probs: [B,T',A] float32, those of the most probable labels; 0 for those that are not tried.
    ids: [B,T',A] int32, these labels.
    repeats: [B,T',A] int32, the same with -1 for those that may follow themselves without a blank because one was
        packed away.
    is_rare: [B,T',A] bool, the labels below the floor, which only hot words may take.
    tried: [T'] int32, how many labels are tried in some utterance; those behind them have probability 0 in all.
    choices: [T', B (A+1)] int32, the blank and the labels.
    stay: [T', B (V+2), 2] float32, the probabilities of the blank and of the label once more for a prefix that ends in
        it; the label V+1 stands for none.
    has_space: [T'] bool, whether a space, or a piece that starts a word, is tried in some utterance.
    skipped: [B] float32, ln p of the blanks that were packed away.
    gap: [B] bool, whether the last frame was one of them.
    """

    probs: Any
    ids: Any
    repeats: Any
    is_rare: Any
    tried: Any
    choices: Any
    stay: Any
    has_space: Any
    skipped: Any
    gap: Any


@dataclass(frozen=True)
class FramePacker:
    """Prepares frames.

    Args:
        labels: V.
        space: the label that separates words, or None.
        top_labels: A, at most.
        floor: labels with a lower ln p are not tried, but for the most probable class of the frame.
        rare: how far below the floor labels are tried, but marked as rare.
        dynamic: whether shapes may depend on values, which saves frames and labels that no utterance has; XLA cannot.
        blank_skip: frames whose blank is more probable than this are packed away; 1: none.
        starts_word: [V+2] bool, of word pieces; see `Spelling`. Default: only `space` starts a word.
    """

    labels: int
    space: int | None
    top_labels: int
    floor: float
    blank_skip: float
    rare: float = 0.0
    dynamic: bool = field(default_factory=is_tensorflow)
    starts_word: np.ndarray | None = field(default=None, compare=False)

    def ends_word(self, labels: Any) -> Any:
        """Whether a word ends before or with each of `labels` [...] int32."""
        if self.starts_word is not None:
            return gather(self.starts_word, labels)
        return labels == (-1 if self.space is None else self.space)

    @property
    def choices(self) -> int:
        """A."""
        return min(self.top_labels, self.labels)

    def pack(self, log_probs: Any, logit_len: Any, gap: Any) -> Frames:
        """Prepares log_probs [B,T',V+1] of logit_len [B] frames; `gap` [B]: whether a blank was packed away before."""
        batch, frames = ops.shape(log_probs)[:2]
        blank, columns, tried = self.labels, self.labels + 2, self.choices
        log_probs = ops.maximum(log_probs, LOG_ZERO)
        frame = ops.arange(frames, dtype="int32")[None, :]
        valid = frame < logit_len[:, None]
        sure = ops.logical_and(valid, log_probs[:, :, blank] > math.log(self.blank_skip))
        gaps = ops.concatenate([gap[:, None], sure], axis=1)

        # Sorting the numbers of the frames that are kept packs them to the left.
        at = ops.sort(ops.where(ops.logical_and(valid, ops.logical_not(sure)), frame, frames), axis=1)
        count = ops.max(ops.sum(ops.cast(at < frames, "int32"), axis=1), initial=0)
        if self.dynamic:
            at = at[:, :count]
        at = ops.transpose(at + (frames + 1) * ops.arange(batch, dtype="int32")[:, None])  # [T',B]
        nothing = ops.where(ops.arange(columns - 1) == blank, 0.0, LOG_ZERO)
        nothing = ops.broadcast_to(ops.cast(nothing, "float32"), (batch, 1, columns - 1))
        rows = ops.reshape(ops.concatenate([log_probs, nothing], axis=1), (batch * (frames + 1), columns - 1))
        rows = gather(rows, at)  # [T',B,V+1]
        after_gap = gather(ops.reshape(gaps, (-1,)), at)[:, :, None]  # [T',B,1]

        best = ops.max(rows, axis=-1, keepdims=True)
        is_best = (rows == best)[:, :, :blank]
        is_tried = ops.logical_or(rows[:, :, :blank] >= self.floor - self.rare, is_best)
        of_labels = ops.where(is_tried, ops.exp(rows[:, :, :blank]), 0.0)
        of_blank = ops.exp(rows[:, :, blank:])
        probs, ids = ops.top_k(of_labels, tried)
        is_rare = ops.logical_and(probs < math.exp(self.floor), probs < ops.exp(best))
        ids = ops.cast(ids, "int32")

        space = -1 if self.space is None else self.space
        is_space = ops.arange(blank, dtype="int32") == space
        again = ops.where(after_gap, 0.0, of_labels)
        # Spaces in front and behind spaces change nothing: such a prefix stays what it is by both.
        again = ops.where(is_space, of_blank + of_labels, again)
        zeros = ops.zeros_like(of_blank)
        stay_blank = ops.concatenate([ops.where(is_space, 0.0, of_blank), of_blank, of_blank], axis=2)
        stay_label = ops.concatenate([again, zeros, zeros], axis=2)
        # A letter after a gap is a new one; a space never is.
        may_repeat = ops.logical_and(after_gap, ids != space)
        has_space = ops.logical_and(self.ends_word(ids), probs > 0)

        length = ops.shape(rows)[0]

        count_tried = ops.full((length,), tried, dtype="int32")
        if self.dynamic:
            count_tried = ops.sum(ops.cast(ops.any(probs > 0, axis=1), "int32"), axis=1)

        def by_row(values):
            return ops.transpose(values, (1, 0, 2))

        of_choices = ops.concatenate([ops.full_like(ids[:, :, :1], blank), ids], axis=2)
        return Frames(
            probs=by_row(probs),
            ids=by_row(ids),
            repeats=by_row(ops.where(may_repeat, -1, ids)),
            is_rare=by_row(is_rare),
            tried=ops.maximum(count_tried, 1),
            choices=ops.reshape(of_choices, (length, batch * (tried + 1))),
            stay=ops.reshape(ops.stack([stay_blank, stay_label], axis=-1), (length, batch * columns, 2)),
            has_space=ops.any(has_space, axis=(1, 2)),
            skipped=ops.sum(ops.where(sure, log_probs[:, :, blank], 0.0), axis=1),
            gap=ops.any(ops.logical_and(ops.arange(frames + 1, dtype="int32") == logit_len[:, None], gaps), axis=1),
        )
