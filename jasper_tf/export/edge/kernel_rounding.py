"""Rounds the weights of a recognizer to 8 bits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from jasper_tf.export.edge.input_statistics import InputStatistics
from jasper_tf.export.edge.network import Convolution, Network

_DAMPING = 0.01
_BATCH = 64


def quantize_kernel(convolution: Convolution, floor: np.ndarray | float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """(kernel [k, C_in // groups, C_out] int8 from -127 to 127, scale [C_out] float32).

    Args:
        convolution: with the scales of its kernel, or without: then of the largest weight of each output.
        floor: the least scale.
    """
    kernel, scale = convolution.kernel, convolution.scale
    if scale is None:
        scale = np.abs(kernel).max(axis=(0, 1)) / np.float32(127)
    scale = np.maximum(scale, floor)
    scale = np.where(scale > 0, scale, np.float32(1)).astype(np.float32)
    return np.clip(np.rint(kernel / scale), -127, 127).astype(np.int8), scale


def round_kernels(
    network: Network, inputs: Sequence[InputStatistics], has_8_bits: Callable[[Convolution], bool]
) -> Network:
    """Rounds each weight so that the errors of the output cancel out on recordings, and corrects the output's mean.

    GPTQ (Frantar et al. 2022, arXiv 2210.17323): weights are rounded one input after the other, and those that are not
    rounded yet take up the error. Nagel et al. 2019, arXiv 1906.04721, correct the bias.

    Args:
        network: the recognizer.
        inputs: of `measure_inputs`.
        has_8_bits: whether a convolution's weights will have 8 bits; the others stay.
    """
    rounded = []
    for convolution, found in zip([*network.convolutions(), network.head], inputs, strict=True):
        if has_8_bits(convolution):
            convolution = _corrected(convolution, _round(convolution, found), found)
        rounded.append(convolution)
    return network.with_convolutions(rounded)


def _corrected(convolution: Convolution, rounded: Convolution, found: InputStatistics) -> Convolution:
    lost = (convolution.kernel - rounded.kernel).sum(axis=0, dtype=np.float64)  # [C_in // groups, C_out]
    means = found.mean.reshape(convolution.groups, -1).T[:, :, None]
    shift = (lost.reshape(*means.shape[:2], -1) * means).sum(axis=0).ravel()
    bias = 0.0 if convolution.bias is None else convolution.bias
    return replace(rounded, bias=(bias + shift).astype(np.float32))


def _round(convolution: Convolution, found: InputStatistics) -> Convolution:
    values, scale = quantize_kernel(convolution)
    if convolution.is_depthwise:  # few weights for each output: the error hardly depends on how they are rounded
        return replace(convolution, kernel=values * scale, scale=scale)
    taps, width, outputs = convolution.kernel.shape
    groups = convolution.groups
    # [groups, inputs of one output, outputs]
    kernel = convolution.kernel.reshape(taps, width, groups, -1).transpose(2, 0, 1, 3)
    steps = scale.reshape(groups, 1, -1)
    rounded = np.empty(kernel.shape, np.float32)
    if len(found.products) == taps:
        flat = kernel.reshape(groups, taps * width, -1)
        rounded[:] = _round_columns(flat, _products(found.products), steps).reshape(kernel.shape)
    else:
        for tap in range(taps):
            rounded[:, tap] = _round_columns(kernel[:, tap], found.products[0], steps)
    back = rounded.transpose(1, 2, 0, 3).reshape(taps, width, outputs)
    return replace(convolution, kernel=back, scale=scale)


def _products(lags: np.ndarray) -> np.ndarray:
    """[lags, groups, C, C] -> [groups, lags * C, lags * C], of all taps and channels."""
    taps, groups, width, _ = lags.shape
    whole = np.empty((groups, taps, width, taps, width))
    for i in range(taps):
        for j in range(i, taps):
            whole[:, i, :, j] = lags[j - i]
            whole[:, j, :, i] = lags[j - i].transpose(0, 2, 1)
    return whole.reshape(groups, taps * width, taps * width)


def _round_columns(kernel: np.ndarray, products: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Kernel [groups, D, outputs], products [groups, D, D], scale [groups, 1, outputs] -> multiples of the scale."""
    size = kernel.shape[1]
    diagonal = np.einsum("gii->gi", products)
    damping = np.maximum(_DAMPING * diagonal.mean(axis=1), 1e-30)
    damped = products + damping[:, None, None] * np.eye(size)
    order = np.argsort(-diagonal.sum(axis=0), kind="stable")
    damped = damped[:, order][:, :, order]
    upper = np.linalg.cholesky(np.linalg.inv(damped)).transpose(0, 2, 1)
    left = kernel[:, order].astype(np.float64)
    rounded = np.empty_like(left)
    for start in range(0, size, _BATCH):
        end = min(start + _BATCH, size)
        errors = np.empty((len(left), end - start, left.shape[2]))
        for i in range(start, end):
            rounded[:, i] = np.clip(np.rint(left[:, i] / scale[:, 0]), -127, 127) * scale[:, 0]
            error = (left[:, i] - rounded[:, i]) / upper[:, i, i, None]
            left[:, i + 1 : end] -= upper[:, i, i + 1 : end, None] * error[:, None]
            errors[:, i - start] = error
        left[:, end:] -= upper[:, start:end, end:].transpose(0, 2, 1) @ errors
    found = np.empty_like(rounded)
    found[:, order] = rounded
    return found
