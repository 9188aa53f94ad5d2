"""The CTC forward-backward recursion, in linear probabilities whose exponents are integers beside them."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import keras
from keras import ops

# 60,000 frames of such emissions fit into an int32 exponent.
_LOWEST_LOG = -16384.0
_EXPONENT_OF_ZERO = -(1 << 28)
# ln 2 in two floats, the first with few enough bits that its product with an exponent is exact.
_LN_2_HIGH, _LN_2_LOW = 0.693359375, -2.12194440e-4


def forward_backward(log_probs: Any, labels: Any, label_len: Any, active: Any) -> tuple[Any, Any, Any]:
    """Likelihood and posteriors of the symbols (Graves et al. 2006, equations 6 to 14).

    A probability is a pair (mantissa float32, exponent int32), m 2^e. A sum aligns the exponents by integer operations:
    one exponential for each emission, no logarithm, and no number of frames underflows. An emission below e^-16384
    counts as e^-16384.

    The states of an utterance are blank u for u = 0, ..., U and label u, which stands between blanks u - 1 and u, for
    u = 1, ..., U. The backward pass is the forward pass over the reversed utterance.

    Args:
        log_probs: [T', V + 1, B]; the blank is the last class.
        labels: [U, B] int32 in [0, V]; the blank beyond the length.
        label_len: [B] int32.
        active: [T', B] bool, the valid frames, which come first.

    Returns:
        (log-likelihood [B], symbols [U + 1, B], posterior [T', U + 1, B] of each in each active frame). The symbols are
        the blank, for all of the states that emit it, and the labels. Undefined where no alignment exists.
    """
    size, batch = ops.shape(labels)
    # One frame more: XLA has no loop over no frames, and the mass of the last label moves to the last blank.
    log_probs, active = ops.pad(log_probs, ((0, 1), (0, 0), (0, 0))), ops.pad(active, ((0, 1), (0, 0)))
    blank = ops.full((1, batch), ops.shape(log_probs)[1] - 1, dtype="int32")
    symbols = ops.concatenate([blank, labels], axis=0)
    mirrored = ops.concatenate([blank, ops.flip(labels, axis=0)], axis=0)
    state = ops.arange(size + 1, dtype="int32")[:, None]
    first = ops.where(state == ops.zeros_like(blank), 0, _EXPONENT_OF_ZERO)
    last = ops.where(state == size - label_len, 0, _EXPONENT_OF_ZERO)
    is_forward = blank[0] >= 0
    forward = (log_probs, symbols, first, active, is_forward)
    backward = (ops.flip(log_probs, axis=0), mirrored, last, ops.flip(active, axis=0), ops.logical_not(is_forward))
    if keras.backend.backend() == "tensorflow":  # runs both at the same time on a CPU
        end_m, end_e, *before = _walk(*forward)
        _, _, *after = _walk(*backward)
    else:
        both = [ops.concatenate(pair, axis=-1) for pair in zip(forward, backward, strict=True)]
        end_m, end_e, *both = _walk(*both)
        before, after = ([x[..., rows] for x in both] for rows in (slice(batch), slice(batch, None)))

    at_end = label_len * ops.shape(end_m)[1] + ops.arange(batch, dtype="int32")
    mantissa, exponent = (ops.take(ops.reshape(x, (-1,)), at_end) for x in (end_m, end_e))
    likelihood = (ops.cast(exponent, "float32") + ops.log2(mantissa)) * math.log(2.0)
    return likelihood, symbols, _posterior(*before, *after, mantissa, exponent)


def _compiled(*inputs: tuple[int, str]) -> Callable[[Callable], Callable]:
    """Compiles a function of arrays, of these ranks and types, by XLA on TensorFlow.

    TensorFlow alone would run the forty small operations of a frame one by one.
    """

    def decorate(function: Callable) -> Callable:
        if keras.backend.backend() != "tensorflow":
            return function
        import tensorflow as tf  # the only backend that runs loops operation by operation

        signature = [tf.TensorSpec([None] * rank, dtype) for rank, dtype in inputs]
        return tf.function(function, signature, autograph=False, jit_compile=True)

    return decorate


@_compiled((3, "float32"), (2, "int32"), (2, "int32"), (2, "bool"), (1, "bool"))
def _walk(log_probs, symbols, start, active, is_forward):
    """Walks through the frames.

    Args:
        log_probs: [T', V + 1, B].
        symbols: [U + 1, B]: the blank, then the labels in the order of the walk.
        start: [U + 1, B] exponents of the blanks before the first frame; the labels have no mass there.
        active: [T', B]. In other frames the blank has probability 1 and the labels have none: at the end they take the
            mass of the last label to the last blank, at the beginning they leave all in the first one.
        is_forward: [B].

    Returns:
        The mass of the blanks after the last frame, mantissa and exponent [U + 1, B]; that of the labels in each frame,
        mantissa and exponent [T', U + 1, B]: with the frame's emission where `is_forward`, else without.
    """
    frames, classes, batch = ops.shape(log_probs)
    states = ops.shape(symbols)[0]
    index = ops.reshape(symbols * batch + ops.arange(batch, dtype="int32"), (-1,))
    log_probs = ops.reshape(log_probs, (frames, classes * batch))
    one, zero = ops.ones_like(start, dtype="float32"), ops.full_like(start, _EXPONENT_OF_ZERO)
    # Label 0 does not exist, so label 1 cannot repeat it.
    repeats = ops.concatenate([symbols[:1] < 0, symbols[1:] == symbols[:-1]], axis=0)
    jump = ops.where(repeats, _EXPONENT_OF_ZERO, 0)

    def below(x, edge):
        return ops.concatenate([edge[:1], x[:-1]], axis=0)

    def step(t, blank_m, blank_e, label_m, label_e, all_m, all_e):
        row = log_probs[t]
        label_p = ops.where(active[t], ops.reshape(ops.take(row, index), (states, batch)), _LOWEST_LOG)
        blank_p = ops.where(active[t], row[(classes - 1) * batch :], 0.0)
        entered = (below(blank_m, one), below(blank_e, zero))
        jumped = (below(label_m, one), below(label_e, zero) + jump)
        sum_m, sum_e = _sum((label_m, label_e), entered, jumped)
        stayed_m, stayed_e = _sum((blank_m, blank_e), (label_m, label_e))
        blank_m, blank_e = _times(stayed_m, stayed_e, blank_p)
        label_m, label_e = _times(sum_m, sum_e, label_p)
        all_m = ops.slice_update(all_m, (t, 0, 0), ops.where(is_forward, label_m, sum_m)[None])
        all_e = ops.slice_update(all_e, (t, 0, 0), ops.where(is_forward, label_e, sum_e)[None])
        return t + 1, blank_m, blank_e, label_m, label_e, all_m, all_e

    shape = (frames, states, batch)
    begin = (0, one, start, one, zero, ops.zeros(shape, dtype="float32"), ops.zeros(shape, dtype="int32"))
    _, blank_m, blank_e, _, _, all_m, all_e = ops.while_loop(lambda t, *_: t < frames, step, begin)
    return blank_m, blank_e, all_m, all_e


@_compiled(*[(3, "float32"), (3, "int32")] * 2, (1, "float32"), (1, "int32"))
def _posterior(before_m, before_e, after_m, after_e, total_m, total_e):
    """The posterior as `forward_backward` returns it, of the two walks and the likelihood."""
    after_m, after_e = (ops.flip(x[:, 1:], axis=(0, 1)) for x in (after_m, after_e))
    power = _power_of_2(before_e[:, 1:] + after_e - total_e)
    labels = before_m[:, 1:] * after_m / total_m * power
    return ops.concatenate([1.0 - ops.sum(labels, axis=1, keepdims=True), labels], axis=1)[:-1]


def _sum(*pairs):
    """The sum of probabilities; its mantissa is at least 1."""
    exponent = pairs[0][1]
    for _, e in pairs[1:]:
        exponent = ops.maximum(exponent, e)
    return sum(m * _power_of_2(e - exponent) for m, e in pairs), exponent


def _times(mantissa, exponent, log_prob):
    """The product with a probability; its mantissa is in [1, 2)."""
    log_prob = ops.maximum(log_prob, _LOWEST_LOG)
    power = ops.floor(log_prob * (1.0 / math.log(2.0)))
    bits = _view(mantissa * ops.exp(log_prob - power * _LN_2_HIGH - power * _LN_2_LOW), "int32")
    exponent = exponent + ops.cast(power, "int32") + (ops.right_shift(bits, 23) - 127)
    return _view(ops.bitwise_or(ops.bitwise_and(bits, 0x7FFFFF), 0x3F800000), "float32"), exponent


def _power_of_2(exponent):
    """2^exponent as float32; 0 below -126."""
    return _view(ops.left_shift(ops.maximum(exponent + 127, 0), 23), "float32")


def _view(x, dtype: str):
    # With a last axis of known size: on TensorFlow keras.ops.view asks for it (keras 3.15).
    return ops.squeeze(ops.view(ops.expand_dims(x, -1), dtype), -1)
