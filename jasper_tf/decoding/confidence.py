"""Confidence of frames, and of labels and words from their frames, in the graph."""

from __future__ import annotations

import math
from typing import Any

from jasper_tf.config.sections.confidence_schema import ConfidenceMethodConfig
from jasper_tf.decoding.ops.numpy_ops import ops_of

# Smallest logarithm of a probability: its product with 0 is 0, where that of -inf is NaN.
_LOG_ZERO = -1e30


def frame_confidence(log_probs: Any, method: ConfidenceMethodConfig) -> Any:
    """Returns how far each frame's distribution is from the uniform one: 0 for that one, 1 for a certain frame.

    NeMo's formulas (asr_confidence_utils.py; Laptev and Ginsburg 2023, arXiv 2212.08703, section 3). With `alpha` 1 all
    entropies are Shannon's. Values below 0, which the Gibbs entropy has with `alpha` below 1, become 0.

    Args:
        log_probs: [B,T',V+1] log-probabilities.
        method: the formula.

    Returns:
        [B,T'] float32.
    """
    ops = ops_of(log_probs)
    log_probs = ops.maximum(ops.cast(log_probs, "float32"), _LOG_ZERO)
    classes, alpha = log_probs.shape[-1], method.alpha
    if method.name == "max_prob":
        found = _above_uniform(ops.exp(alpha * ops.max(log_probs, axis=-1, initial=_LOG_ZERO)), classes**alpha)
    elif alpha == 1:
        negative = ops.sum(ops.exp(log_probs) * log_probs, axis=-1)
        linear = 1 + negative / math.log(classes)
        found = linear if method.entropy_norm == "lin" else _above_uniform(ops.exp(negative), classes)
    else:
        found = _ENTROPIES[method.entropy_type](log_probs, alpha, classes, method.entropy_norm == "lin")
    return ops.clip(found, 0.0, 1.0)


def _above_uniform(value: Any, classes: float) -> Any:
    """Maps 1/classes, the value of a uniform distribution, to 0 and 1 to 1."""
    return (value * classes - 1) / (classes - 1)


def _gibbs(log_probs: Any, alpha: float, classes: int, linear: bool) -> Any:
    ops = ops_of(log_probs)
    negative = ops.sum(ops.exp(alpha * log_probs) * log_probs, axis=-1)
    if linear:
        return 1 + negative / (math.log(classes) * classes ** (1 - alpha))
    least = classes ** (-alpha * classes ** (1 - alpha))
    return (ops.exp(alpha * negative) - least) / (1 - least)


def _tsallis(log_probs: Any, alpha: float, classes: int, linear: bool) -> Any:
    ops = ops_of(log_probs)
    negative = 1 - ops.sum(ops.exp(alpha * log_probs), axis=-1)
    if linear:
        return 1 + negative / (classes ** (1 - alpha) - 1)
    least = math.exp((1 - classes ** (1 - alpha)) / (1 - alpha))
    return (ops.exp(negative / (1 - alpha)) - least) / (1 - least)


def _renyi(log_probs: Any, alpha: float, classes: int, linear: bool) -> Any:
    ops = ops_of(log_probs)
    negative = ops.log(ops.sum(ops.exp(alpha * log_probs), axis=-1)) / (alpha - 1)
    return 1 + negative / math.log(classes) if linear else _above_uniform(ops.exp(negative), classes)


_ENTROPIES = {"gibbs": _gibbs, "tsallis": _tsallis, "renyi": _renyi}


def aggregate(values: Any, group: Any, groups: Any, aggregation: str) -> Any:
    """Aggregates values by group, row by row.

    Args:
        values: [B,N] float32, 0 to 1.
        group: [B,N] int32, the group of each value; -1 for values in none.
        groups: G, the number of groups.
        aggregation: mean, min, max or prod.

    Returns:
        [B,G] float32; 0 for groups without values.
    """
    ops = ops_of(values)
    rows = ops.shape(values)[0]
    row = ops.arange(rows, dtype="int32")[:, None]
    number = ops.reshape(ops.where(group < 0, rows * groups, row * groups + group), [-1])
    values = ops.reshape(values, [-1])

    def reduce(reduction, x):
        return ops.reshape(reduction(x, number, rows * groups + 1)[:-1], (rows, groups))

    count = reduce(ops.segment_sum, ops.ones_like(values))
    if aggregation == "mean":
        found = reduce(ops.segment_sum, values) / ops.maximum(count, 1.0)
    elif aggregation == "min":
        found = -reduce(ops.segment_max, -values)
    elif aggregation == "max":
        found = reduce(ops.segment_max, values)
    else:
        found = ops.exp(reduce(ops.segment_sum, ops.log(values)))
    return ops.where(count > 0, found, 0.0)


def label_confidence(
    frames: Any, logit_len: Any, start_frame: Any, end_frame: Any, label_len: Any, aggregation: str, exclude_blank: bool
) -> Any:
    """Aggregates the confidences of frames to those of labels.

    Args:
        frames: [B,T'] float32, of `frame_confidence`.
        logit_len: [B] int32, valid frames.
        start_frame, end_frame, label_len: of `Hypotheses.best()`.
        aggregation: mean, min, max or prod.
        exclude_blank: whether a label's frames end at its `end_frame`; otherwise they last to the next label (NeMo).

    Returns:
        [B,U] float32; 0 where padded.
    """
    ops = ops_of(frames)
    rows, size = ops.shape(start_frame)
    count = ops.shape(frames)[1]
    column, frame = ops.arange(size, dtype="int32"), ops.arange(count, dtype="int32")
    row = ops.arange(rows, dtype="int32")[:, None]
    inside = column < label_len[:, None]
    begin = ops.reshape(ops.where(inside, row * count + start_frame, rows * count), [-1])
    begins = ops.segment_sum(ops.ones_like(begin), begin, rows * count + 1)[:-1]
    label = ops.cumsum(ops.reshape(begins, (rows, count)), axis=1) - 1
    last = logit_len[:, None]
    if exclude_blank:
        end = ops.pad(end_frame, [[0, 0], [0, 1]])  # some label is read even where there is none
        last = ops.take_along_axis(end, ops.maximum(label, 0), axis=1)
    return aggregate(frames, ops.where(frame < last, label, -1), size, aggregation)
