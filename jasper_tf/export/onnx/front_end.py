"""Adds the front end to an ONNX graph: raw audio to normalized features."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto

from jasper_tf.export.edge.network import FrontEnd
from jasper_tf.export.onnx.graph import Graph, size, valid

_TIME = 3
"""Axis of time of all that follows the audio: [B,C,1,T]."""


def add_features(graph: Graph, front: FrontEnd, audio: str, audio_len: str) -> tuple[str, str]:
    """Adds log-mel features of audio [B,S], audio_len [B] int32: [B,F,1,T], feature_len [B] int32."""
    framing, x = front.framing, audio
    pad = framing.pad_samples
    if framing.exact_pad:
        x = _pad_samples(graph, x, (pad, pad), framing.generation)
    if front.preemph is not None:
        before = graph.op("Pad", x, graph.ints(0, 1, 0, -1))
        x = graph.op("Sub", x, graph.op("Mul", before, graph.const(front.preemph, np.float32)), name="preemphasis")
    if framing.generation == "modern":
        inside = valid(graph, audio_len, size(graph, x, 1), axes=[1])
        x = graph.op("Where", inside, x, graph.const(0.0, np.float32))  # not a product: padding may be NaN
    left, right = front.dft_padding
    if framing.exact_pad:
        x = graph.op("Pad", x, graph.ints(0, left - pad, 0, right - pad))
    else:
        x = _pad_samples(graph, x, (left, right), framing.generation)
    x = graph.op("Unsqueeze", x, graph.ints(1, 2))  # [B,1,1,S]
    return add_energies(graph, front, x), _count_frames(graph, front, audio_len)


def add_energies(graph: Graph, front: FrontEnd, x: str) -> str:
    """Adds log-mel features [B,F,1,T] of padded and pre-emphasized audio [B,1,1,S]."""
    dft = graph.weight(front.dft.T[:, None, None, :].astype(np.float32), "dft")
    x = graph.op("Conv", x, dft, strides=[1, front.framing.hop_samples], name="spectrum")  # [B,2K,1,T]
    real, imaginary = graph.ops("Split", graph.op("Mul", x, x), axis=1, outputs=2)
    x = graph.op("Add", real, imaginary, name="power")
    if front.mag_power != 2.0:
        x = graph.op("Pow", x, graph.const(front.mag_power / 2, np.float32))
    x = graph.op("Conv", x, graph.weight(front.mel.T[:, :, None, None], "mel"), name="energies")  # [B,F,1,T]
    if front.log_guard is not None:
        kind, guard = front.log_guard
        x = graph.op("Add" if kind == "add" else "Max", x, graph.const(guard, np.float32))
        x = graph.op("Log", x)
    return x


def _pad_samples(graph: Graph, audio: str, padding: tuple[int, int], generation: str) -> str:
    left, right = padding
    if generation == "modern":
        return graph.op("Pad", audio, graph.ints(0, left, 0, right))
    # By reflection. Clipped, so that audio shorter than the padding is defined too.
    zero, one = graph.const(0, np.int32), graph.const(1, np.int32)
    samples = size(graph, audio, 1)
    last = graph.op("Sub", samples, one)
    end = graph.op("Add", samples, graph.const(right, np.int32))
    index = graph.op("Abs", graph.op("Range", graph.const(-left, np.int32), end, one))
    mirrored = graph.op("Sub", graph.op("Add", last, last), index)
    index = graph.op("Max", graph.op("Min", index, mirrored), zero)
    return graph.op("Gather", audio, index, axis=1)


def _count_frames(graph: Graph, front: FrontEnd, audio_len: str) -> str:
    """`Framing.frames`. ONNX divides towards zero; the dividend is made positive by one hop."""
    framing = front.framing
    zero, hop = graph.const(0, np.int32), graph.const(framing.hop_samples, np.int32)
    offset = 2 * framing.pad_samples - framing.fft_samples + framing.hop_samples
    places = graph.op("Max", graph.op("Add", audio_len, graph.const(offset, np.int32)), zero)
    frames = graph.op("Div", places, hop)
    if framing.generation == "modern":
        frames = graph.op("Max", graph.op("Sub", frames, graph.const(1, np.int32)), zero)
    return graph.op("Where", graph.op("Greater", audio_len, zero), frames, zero, name="feature_len")


def add_normalization(graph: Graph, front: FrontEnd, x: str, feature_len: str) -> tuple[str, bool]:
    """Adds splicing, normalization and padding of features [B,F,1,T].

    Returns:
        The features, and whether they are zero beyond the length.
    """
    zero = graph.const(0.0, np.float32)
    inside = valid(graph, feature_len, size(graph, x, _TIME), axes=[1, 2, 3])  # [B,1,1,T]
    if front.splicing > 1:
        x = splice(graph, graph.op("Where", inside, x, zero), front.splicing)
    if front.normalize == "fixed":
        x = add_fixed_normalization(graph, front, x)
    elif front.normalize is not None:
        x = _standardize(graph, front, x, feature_len, inside)
    is_zero = front.pad_value == 0.0
    if not (is_zero and front.normalize in ("per_feature", "all_features")):
        x = graph.op("Where", inside, x, graph.const(front.pad_value, np.float32))
    if front.pad_to:
        frames = graph.op("Shape", x, start=_TIME, end=_TIME + 1)
        step = graph.ints(front.pad_to)
        missing = graph.op("Mod", graph.op("Neg", frames), step)
        pads = graph.op("Concat", graph.ints(*[0] * 7), missing, axis=0)
        x = graph.op("Pad", x, pads, graph.const(front.pad_value, np.float32))
    return x, is_zero


def add_fixed_normalization(graph: Graph, front: FrontEnd, x: str) -> str:
    """Adds the normalization of [B,F,1,T] by `fixed_mean` and `fixed_std`, where there are any."""
    if front.fixed_mean is None or front.fixed_std is None:
        return x
    x = graph.op("Sub", x, graph.weight(front.fixed_mean[:, None, None], "mean"))
    return graph.op("Div", x, graph.weight(front.fixed_std[:, None, None], "std"))


def splice(graph: Graph, x: str, splicing: int) -> str:
    """Adds `FrameSplicing` of [B,F,1,T]; beyond the last frame are zeros."""
    shifted = [graph.op("Pad", x, graph.ints(0, 0, 0, -k, 0, 0, 0, k)) for k in range(splicing)]
    return graph.op("Concat", *shifted, axis=1)


def _standardize(graph: Graph, front: FrontEnd, x: str, feature_len: str, inside: str) -> str:
    """As `FeatureNormalization`: relative to the first value, so that a constant band is exactly 0."""
    zero, one = graph.const(0.0, np.float32), graph.const(1.0, np.float32)
    axes = [_TIME] if front.normalize == "per_feature" else [1, _TIME]
    ends = graph.ints(*[1] * len(axes))
    origin = graph.op("Slice", x, graph.ints(*[0] * len(axes)), ends, graph.ints(*axes))
    count = graph.op("Cast", graph.op("Unsqueeze", feature_len, graph.ints(1, 2, 3)), to=TensorProto.FLOAT)
    if front.normalize == "all_features":
        count = graph.op("Mul", count, graph.const(front.mel.shape[1] * front.splicing, np.float32))
    x = graph.op("Where", inside, graph.op("Sub", x, origin), zero)
    total = graph.op("ReduceSum", x, graph.ints(*axes))
    mean = graph.op("Div", total, graph.op("Max", count, one), name="mean")
    centered = graph.op("Where", inside, graph.op("Sub", x, mean), zero)
    square = graph.op("ReduceSum", graph.op("Mul", centered, centered), graph.ints(*axes))
    variance = graph.op("Div", square, graph.op("Max", graph.op("Sub", count, one), one), name="variance")
    std = graph.op("Add", graph.op("Sqrt", variance), graph.const(front.std_guard, np.float32))
    return graph.op("Div", centered, std, name="features")
