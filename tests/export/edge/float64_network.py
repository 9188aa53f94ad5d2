"""The float64 twin of what exporters write: a Network computed by NumPy, one utterance or padded batch at a time."""

import numpy as np

from jasper_tf.export.edge.network import Block, Convolution, Excitation, FrontEnd, Network, Stage

_ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "hard_tanh": lambda x: np.clip(x, -1, 1),
    "selu": lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(np.minimum(x, 0))),
    "silu": lambda x: x / (1 + np.exp(-x)),
}


def log_probs(network: Network, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Audio [B,S], audio_len [B] -> log-probabilities [B,T',V+1] float64, valid frames [B]."""
    features, length = features_of(network.front_end, audio, audio_len)
    outputs, lengths = [features], [length]
    for block in network.blocks:
        x, length = _block(block, outputs, lengths)
        outputs.append(x)
        lengths.append(length)
    logits = _convolve(outputs[-1], network.head)
    logits -= logits.max(axis=-1, keepdims=True)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True)), length


def features_of(front: FrontEnd, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Audio [B,S] -> normalized features [B,T,F] float64, feature_len [B]."""
    framing, x = front.framing, np.asarray(audio, np.float64)
    if framing.exact_pad:
        x = _pad(x, framing.pad_samples, framing.generation)
    if front.preemph is not None:
        x = np.concatenate([x[:, :1], x[:, 1:] - front.preemph * x[:, :-1]], axis=1)
    if framing.generation == "modern":
        x = np.where(_valid(audio_len, x.shape[1]), x, 0.0)
    if not framing.exact_pad:
        x = _pad(x, framing.pad_samples, framing.generation)
    x = x[:, front.dft_start :]
    frames = framing.padded_frames(np.shape(audio)[1])
    starts = np.arange(frames) * framing.hop_samples
    spectrum = x[:, starts[:, None] + np.arange(len(front.dft))] @ front.dft
    bins = front.dft.shape[1] // 2
    power = spectrum[..., :bins] ** 2 + spectrum[..., bins:] ** 2
    y = power ** (front.mag_power / 2) @ front.mel.astype(np.float64)
    if front.log_guard is not None:
        kind, guard = front.log_guard
        y = np.log(y + guard if kind == "add" else np.maximum(y, guard))
    length = framing.frames(np.asarray(audio_len))
    valid = _valid(length, frames)[:, :, None]
    if front.splicing > 1:
        y = np.pad(np.where(valid, y, 0.0), ((0, 0), (0, front.splicing - 1), (0, 0)))
        y = np.concatenate([y[:, k : frames + k] for k in range(front.splicing)], axis=-1)
    if front.normalize == "fixed":
        y = (y - front.fixed_mean) / front.fixed_std
    elif front.normalize is not None:
        for row, count in zip(y, length, strict=True):
            axis = 0 if front.normalize == "per_feature" else (0, 1)
            values = row[:count]
            row -= values.mean(axis=axis) if count else 0.0
            size = count * (1 if axis == 0 else y.shape[-1])
            row /= np.sqrt((values**2).sum(axis=axis) / max(size - 1, 1)) + front.std_guard
    y = np.where(valid, y, front.pad_value)
    if front.pad_to:
        missing = -frames % front.pad_to
        y = np.pad(y, ((0, 0), (0, missing), (0, 0)), constant_values=front.pad_value)
    return y, length


def _block(block: Block, outputs: list[np.ndarray], lengths: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    x, length, act = outputs[-1], lengths[-1], _ACTIVATIONS[block.activation]
    first_length = length
    for number, stage in enumerate(block.stages):
        x, length = _stage(stage, x, length, block.counts_lengths)
        x = act(x) if number < len(block.stages) - 1 else x
    if block.excitation is not None:
        x = _excite(block.excitation, x, length)
    for residual in block.residuals:
        branch, _ = _stage(residual.stage, outputs[residual.source], first_length, block.counts_lengths)
        x = np.maximum(x, branch) if block.residual_mode == "max" else x + branch
    return act(x), length


def _stage(stage: Stage, x: np.ndarray, length: np.ndarray, counts: bool) -> tuple[np.ndarray, np.ndarray]:
    for convolution in stage.convolutions:
        if convolution.masked:
            x = np.where(_valid(length, x.shape[1])[:, :, None], x, 0.0)
        x = _convolve(x, convolution)
        if counts:
            place = length + convolution.length_offset
            length = place + 1 if convolution.stride == 1 else abs(place) // convolution.stride + 1
    if stage.normalization is not None:
        n = stage.normalization
        batch, frames, channels = x.shape
        grouped = x.reshape(batch, frames, n.groups, -1)
        mean, variance = grouped.mean(axis=(1, 3), keepdims=True), grouped.var(axis=(1, 3), keepdims=True)
        x = ((grouped - mean) / np.sqrt(variance + n.epsilon)).reshape(batch, frames, channels) * n.gamma + n.beta
    if stage.shuffle > 1:
        batch, frames, channels = x.shape
        x = x.reshape(batch, frames, stage.shuffle, -1).transpose(0, 1, 3, 2).reshape(batch, frames, channels)
    return x, length


def _convolve(x: np.ndarray, convolution: Convolution) -> np.ndarray:
    kernel = convolution.kernel.astype(np.float64)
    x = np.pad(x, ((0, 0), convolution.padding, (0, 0)))
    frames = (x.shape[1] - convolution.reach - 1) // convolution.stride + 1
    taps = [
        x[:, k * convolution.dilation :][:, : frames * convolution.stride : convolution.stride]
        for k in range(len(kernel))
    ]
    if convolution.is_depthwise:
        y = sum(tap[:, :frames] * weight[0] for tap, weight in zip(taps, kernel, strict=True))
    else:
        groups = convolution.groups
        parts = [np.split(tap[:, :frames], groups, axis=-1) for tap in taps]
        weights = np.split(kernel, groups, axis=-1)
        y = np.concatenate([sum(p[g] @ w for p, w in zip(parts, weights[g], strict=True)) for g in range(groups)], -1)
    return y if convolution.bias is None else y + convolution.bias


def _excite(excitation: Excitation, x: np.ndarray, length: np.ndarray) -> np.ndarray:
    x = np.where(_valid(length, x.shape[1])[:, :, None], x, 0.0)
    mean = x.sum(axis=1) / np.maximum(np.minimum(length, x.shape[1]), 1)[:, None]
    gate = _ACTIVATIONS[excitation.activation](mean @ excitation.squeeze) @ excitation.excite
    return x / (1 + np.exp(-gate))[:, None]


def _pad(x: np.ndarray, samples: int, generation: str) -> np.ndarray:
    if generation == "modern":
        return np.pad(x, ((0, 0), (samples, samples)))
    last = x.shape[1] - 1
    index = np.abs(np.arange(-samples, last + 1 + samples))
    return x[:, np.clip(np.where(index > last, 2 * last - index, index), 0, last)]


def _valid(length: np.ndarray, frames: int) -> np.ndarray:
    return np.arange(frames) < np.asarray(length)[:, None]
