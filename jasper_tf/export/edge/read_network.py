"""Reads a recognizer's description for the exporters from its Keras layers."""

from __future__ import annotations

import dataclasses
from typing import Any

import keras
import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.export.edge.network import (
    Block,
    Convolution,
    Excitation,
    FrontEnd,
    GroupNormalization,
    Network,
    Residual,
    Stage,
)
from jasper_tf.features.log_mel import LogMelSpectrogram
from jasper_tf.features.normalize import STD_GUARD, FeatureNormalization
from jasper_tf.features.splice import FrameSplicing
from jasper_tf.model.blocks.batch_norm import BatchNorm
from jasper_tf.model.blocks.group_norm import GroupNorm
from jasper_tf.model.blocks.jasper_block import JasperBlock
from jasper_tf.model.blocks.masked_conv import MaskedConv1D
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.model.validate_weights import validate_weights

_ACTIVATIONS = ("relu", "hard_tanh", "selu", "silu")


def read_network(model: JasperCTC) -> Network:
    """Returns the description of a model as it is in inference, with its present weights.

    Raises:
        UserError: a weight is NaN or infinite, or the model has a layer that no exporter knows.
    """
    validate_weights(model.variables, model.name)
    blocks: list[Block] = []
    panes = [0]  # of dense residuals: numbers of `Residual.source`
    for number, block in enumerate(model.encoder.blocks):
        blocks.append(_read_block(block, panes))
        panes = [*panes, number + 1] if block.residual_dense else [number + 1]
    kernel, bias = _weights(model.decoder.kernel), _weights(model.decoder.bias)
    head = Convolution(kernel, bias, stride=1, dilation=1, groups=1, padding=(0, 0), masked=False)
    return Network(_read_front_end(model, _reads_padding(model)), tuple(blocks), head)


def _reads_padding(model: JasperCTC) -> bool:
    """Whether a valid frame of the output depends on the frames beyond the length."""
    return any(
        not block.conv_mask or any(isinstance(norm, GroupNorm) for norm in block.normalizations)
        for block in model.encoder.blocks
    )


def _read_front_end(model: JasperCTC, reads_padding: bool) -> FrontEnd:
    layers: dict[type, Any] = {type(layer): layer for layer in model.layers}
    log_mel: LogMelSpectrogram = layers[LogMelSpectrogram]
    normalization: FeatureNormalization = layers[FeatureNormalization]
    splicing = layers[FrameSplicing].frame_splicing if FrameSplicing in layers else 1
    dft, dft_start, mel = _dft(log_mel)
    fixed = normalization.fixed_mean is not None
    return FrontEnd(
        sample_rate=log_mel.sample_rate,
        framing=log_mel.framing,
        preemph=log_mel.preemph,
        dft=dft,
        dft_start=dft_start,
        mag_power=log_mel.mag_power,
        mel=mel,
        log_guard=(log_mel.log_zero_guard_type, log_mel.guard) if log_mel.log else None,
        splicing=splicing,
        normalize=normalization.normalize,
        std_guard=STD_GUARD,
        fixed_mean=np.array(normalization.fixed_mean, np.float32) if fixed else None,
        fixed_std=np.array(normalization.fixed_std, np.float32) if fixed else None,
        pad_to=normalization.pad_to if reads_padding else 0,
        pad_value=normalization.pad_value,
    )


def _dft(log_mel: LogMelSpectrogram) -> tuple[np.ndarray, int, np.ndarray]:
    """(dft [W, 2K], dft_start, mel [K, F]) of `FrontEnd`, for the frequencies with a weight in a mel filter."""
    framing, window = log_mel.framing, log_mel.window_values.astype(np.float64)
    before = (framing.fft_samples - len(window)) // 2  # Keras centers the window
    # The padding may be shorter than the margin of the window in the FFT when the hop exceeds the window.
    start = min(before, framing.pad_samples)
    end = max(before + len(window), framing.fft_samples - framing.pad_samples)
    windowed = np.zeros(end - start)
    windowed[before - start :][: len(window)] = window
    bins = np.flatnonzero(log_mel.mel_weights.any(axis=1))
    bins = np.arange(bins[0], bins[-1] + 1)
    # Whole turns are taken off first: the angles stay exact.
    turns = np.outer(np.arange(end - start), bins) % framing.fft_samples / framing.fft_samples
    waves = np.concatenate([np.cos(2 * np.pi * turns), np.sin(2 * np.pi * turns)], axis=1)
    return windowed[:, None] * waves, start, log_mel.mel_weights[bins]


def _read_block(block: JasperBlock, panes: list[int]) -> Block:
    stages = []
    for number, normalization in enumerate(block.normalizations):
        layers = block.layers_of_sub_block(number)
        stages.append(_read_stage(layers, normalization, block.conv_mask, block.groups))
    sources = block.residual_sources(panes)
    branches = zip(sources, block.residual_convolutions, block.residual_normalizations, strict=True)
    residuals = [
        Residual(source, _read_stage([convolution], normalization, block.conv_mask))
        for source, convolution, normalization in branches
    ]
    excitation = None
    if block.excitation is not None:
        squeeze, excite = _weights(block.excitation.squeeze), _weights(block.excitation.excite)
        excitation = Excitation(squeeze, excite, _activation(block.excitation.activation))
    return Block(
        stages=tuple(stages),
        activation=_activation(block.activation),
        excitation=excitation,
        residuals=tuple(residuals),
        residual_mode="max" if block.residual_mode == "max" else "add",
        counts_lengths=block.conv_mask,
    )


def _read_stage(
    layers: list[MaskedConv1D], normalization: BatchNorm | GroupNorm, conv_mask: bool, shuffle: int = 1
) -> Stage:
    if not isinstance(normalization, BatchNorm | GroupNorm):
        raise UserError(f"encoder: a {type(normalization).__name__} cannot be exported to this format")
    reads_padding = isinstance(normalization, GroupNorm)
    channels = layers[-1].kernel.shape[1] * layers[-1].groups  # of a depthwise convolution before the last
    convolutions = [_read_convolution(layer, channels, conv_mask, reads_padding) for layer in layers]
    if isinstance(normalization, BatchNorm):
        convolutions[-1] = _fold(convolutions[-1], normalization)
        return Stage(tuple(convolutions), shuffle=shuffle)
    gamma, beta = _weights(normalization.gamma), _weights(normalization.beta)
    groups = len(gamma) if normalization.groups == -1 else normalization.groups
    return Stage(tuple(convolutions), GroupNormalization(groups, gamma, beta, normalization.epsilon), shuffle)


def _read_convolution(layer: MaskedConv1D, channels: int, conv_mask: bool, reads_padding: bool) -> Convolution:
    kernel, groups = _weights(layer.kernel), layer.groups
    if layer.filters is None:
        kernel, groups = np.tile(kernel, (1, 1, channels // kernel.shape[2])), channels  # channel c: c % heads
    masked = conv_mask and (len(kernel) > 1 or any(layer.padding) or reads_padding)
    return Convolution(kernel, None, layer.stride, layer.dilation, groups, layer.padding, masked)


def _fold(convolution: Convolution, normalization: BatchNorm) -> Convolution:
    """The convolution with the batch normalization after it."""
    gamma, beta, mean, variance = (
        _weights(variable).astype(np.float64)
        for variable in (
            normalization.gamma,
            normalization.beta,
            normalization.moving_mean,
            normalization.moving_variance,
        )
    )
    scale = gamma / np.sqrt(variance + normalization.epsilon)
    return dataclasses.replace(
        convolution,
        kernel=(convolution.kernel * scale).astype(np.float32),
        bias=(beta - mean * scale).astype(np.float32),
    )


def _activation(function: Any) -> str:
    name = keras.activations.serialize(function)
    if name not in _ACTIVATIONS:
        raise UserError(f"encoder.activation: '{name}' cannot be exported to this format")
    return name


def _weights(variable: keras.Variable) -> np.ndarray:
    return np.asarray(variable, np.float32)
