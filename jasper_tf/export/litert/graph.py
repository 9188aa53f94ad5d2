"""Builds the LiteRT graph of a recognizer: raw audio [1,S] to log-probabilities [1,T',V+1], for one recording."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from tensorflow.lite.python import schema_py_generated as schema

from jasper_tf.errors import UserError
from jasper_tf.export.edge.network import Block, Convolution, Excitation, FrontEnd, Network, Residual, Stage
from jasper_tf.export.litert.activations import Activation
from jasper_tf.export.litert.flatbuffer import OP
from jasper_tf.export.litert.layers import Layers, without_groups

INPUT, OUTPUT = "audio", "log_probs"


def build_litert(
    network: Network,
    quantize: str = "none",
    activations: Mapping[str, Activation] | None = None,
    measured: bool = False,
) -> bytes:
    """Returns the content of a `.tflite`.

    A recording has no padding, so nothing is masked: "same" zero padding is what the masks give. Spectrogram and
    logarithm are always float32: their dynamic range is beyond 8 bits.

    Args:
        network: the recognizer.
        quantize: "none"; "float16" (weights); "int8-dynamic" (weights of the encoder's and the head's dense
            convolutions by channel; inputs of these in each call); "int8-static" (their inputs
            and outputs too, with the ranges of `activations`).
        activations: of the float32 model on recordings, for "int8-static".
        measured: whether the tensors that 8 bits depend on are outputs too, for `measure_activations`.

    Raises:
        UserError: the network depends on padding, or the file would be too large.
    """
    _validate(network)
    layers = Layers(quantize, activations)
    audio = layers.graph.add_tensor(INPUT, [1, -1])
    features = _front_end(layers, network.front_end, audio)
    outputs = [features]
    for number, block in enumerate(network.blocks):
        outputs.append(add_block(layers, block, outputs, f"block_{number}"))
    logits = layers.cast(layers.convolve(outputs[-1], network.head, "head", quantized=True), "float32")
    log_probs = layers.unary(OP.LOG_SOFTMAX, logits, "log_softmax", schema.LogSoftmaxOptionsT())
    output = layers.reshape(log_probs, [1, -1, layers.graph.channels(logits)], OUTPUT)
    return layers.graph.to_bytes([audio], [output, *(dict.fromkeys(layers.measured) if measured else ())])


def _validate(network: Network) -> None:
    stages = [stage for block in network.blocks for stage in (*block.stages, *(r.stage for r in block.residuals))]
    todo = "export it as saved_model or onnx"
    if not all(block.counts_lengths for block in network.blocks):
        raise UserError(f"encoder.conv_mask: false needs the padding of a batch, unlike --format litert; {todo}")
    if any(stage.normalization for stage in stages):
        raise UserError(f"encoder.normalization_mode: --format litert knows batch normalization only; {todo}")
    if network.front_end.framing.exact_pad:
        raise UserError(f"preprocessor.exact_pad: true is unknown to --format litert; {todo}")


def _front_end(layers: Layers, front: FrontEnd, audio: int) -> int:
    """Audio [1,S] -> features [1,1,T,F]."""
    x = layers.reshape(audio, [1, 1, -1, 1], "samples")
    legacy = front.framing.generation == "legacy"
    if front.preemph is not None:
        x = layers.convolve(x, preemphasis_convolution(front.preemph, 1), "preemphasis")
    # In the modern generation the last frame is not valid; where the padding allows it is not computed.
    (left, right), spare = front.dft_padding, 0 if legacy else 1
    fewer = right - spare * front.framing.hop_samples
    x = layers.pad(x, left, fewer if fewer >= 0 else right, mirrored=legacy)
    x = layers.convolve(x, dft_convolution(front), "spectrum")
    x = layers.cut(x, 0, spare if fewer < 0 else 0)
    x = add_energies(layers, front, x)
    if front.splicing > 1:
        x = layers.convolve(x, splicing_convolution(front, front.splicing - 1), "spliced")
    return add_normalization(layers, front, x)


def preemphasis_convolution(preemph: float, padding: int) -> Convolution:
    """Subtracts the sample before; `padding` zeros are added on the left."""
    taps = np.array([-preemph, 1.0], np.float32).reshape(2, 1, 1)
    return _convolution(taps, padding=(padding, 0))


def dft_convolution(front: FrontEnd) -> Convolution:
    """Samples [1,1,S,1] to real and imaginary parts of the spectrum."""
    return _convolution(front.dft.astype(np.float32)[:, None], stride=front.framing.hop_samples)


def splicing_convolution(front: FrontEnd, padding: int) -> Convolution:
    """Stacks `front.splicing` frames; `padding` zeros are added on the right."""
    bands = front.mel.shape[1]
    shifted = np.eye(bands * front.splicing, dtype=np.float32).reshape(front.splicing, bands, -1)
    return _convolution(shifted, padding=(0, padding))


def add_energies(layers: Layers, front: FrontEnd, x: int) -> int:
    """Adds log-mel features of the spectrum."""
    x = layers.multiply(x, x, "power")
    both = np.concatenate([front.mel, front.mel])  # of the cosines and of the sines
    if front.mag_power != 2.0:
        identity = np.eye(len(front.mel), dtype=np.float32)
        x = layers.convolve(x, _convolution(np.concatenate([identity, identity])[None]), "power_sum")
        x = layers.binary(OP.POW, x, front.mag_power / 2, "magnitude", schema.PowOptionsT())
        both = front.mel
    x = layers.convolve(x, _convolution(both[None]), "mel")
    kind, guard = front.log_guard or ("none", 0.0)
    if kind == "add":  # not as a bias: the sum of small energies would begin with it and lose them
        x = layers.add(x, guard, "guarded")
    elif kind == "clamp":
        x = layers.binary(OP.MAXIMUM, x, guard, "clamped")
    if front.log_guard is not None:
        x = layers.unary(OP.LOG, x, "log_mel")
    return x


def add_normalization(layers: Layers, front: FrontEnd, x: int) -> int:
    """Adds the normalization of features, by their own statistics or fixed ones."""
    if front.normalize is None:
        return x
    if front.fixed_mean is not None and front.fixed_std is not None:
        x = layers.binary(OP.SUB, x, front.fixed_mean, "centered", schema.SubOptionsT())
        return layers.binary(OP.DIV, x, front.fixed_std, "features", schema.DivOptionsT())
    bands = layers.graph.channels(x)
    over_bands = front.normalize == "all_features"
    axes = [2, 3] if over_bands else [2]
    # A shape would be a constant in some runtimes: the frames are counted in the data.
    one = _convolution(np.zeros((1, bands, 1), np.float32), np.ones(1, np.float32))
    count = layers.reduce(OP.SUM, layers.convolve(x, one, "ones"), [2, 3], "frames")
    if over_bands:
        count = layers.multiply(count, float(bands), "count")
    # Relative to the first frame, as `FeatureNormalization`: a constant band is exactly 0.
    x = layers.binary(OP.SUB, x, layers.first_frame(x, 1 if over_bands else bands), "shifted", schema.SubOptionsT())
    x = layers.binary(OP.SUB, x, layers.reduce(OP.MEAN, x, axes, "mean"), "centered", schema.SubOptionsT())
    squares = layers.reduce(OP.SUM, layers.multiply(x, x, "squares"), axes, "sum_of_squares")
    others = layers.binary(OP.MAXIMUM, layers.add(count, -1.0, "others"), 1.0, "divisor")
    variance = layers.binary(OP.DIV, squares, others, "variance", schema.DivOptionsT())
    deviation = layers.add(layers.unary(OP.SQRT, variance, "root"), front.std_guard, "deviation")
    return layers.binary(OP.DIV, x, deviation, "features", schema.DivOptionsT())


def add_block(layers: Layers, block: Block, outputs: list[int], name: str) -> int:
    """The output of a block; `outputs` are the encoder's input and those of the blocks before."""
    x = outputs[-1]
    for number, stage in enumerate(block.stages):
        last = number == len(block.stages) - 1
        plain = not last or not (block.excitation or block.residuals)
        x = _stage(layers, stage, x, f"{name}/{number}", block.activation if plain else None)
    if block.excitation is not None:
        x = _excite(layers, block.excitation, x, f"{name}/excitation")
    x = _add_residuals(layers, block, block.residuals, x, outputs, name)
    if block.excitation is not None and not block.residuals:
        x = layers.activate(x, block.activation, f"{name}/output")
    return x


def _stage(layers: Layers, stage: Stage, x: int, name: str, activation: str | None) -> int:
    for number, convolution in enumerate(stage.convolutions):
        last = number == len(stage.convolutions) - 1
        if last and stage.shuffle > 1:
            convolution = _shuffled(convolution, stage.shuffle)
        kind = "depthwise" if convolution.is_depthwise and not last else "convolution"
        x = layers.convolve(x, convolution, f"{name}/{kind}", activation if last else None, quantized=True)
    return x


def _add_residuals(
    layers: Layers, block: Block, residuals: tuple[Residual, ...], x: int, outputs: list[int], name: str
) -> int:
    for number, residual in enumerate(residuals):
        branch = _stage(layers, residual.stage, outputs[residual.source], f"{name}/residual_{number}", None)
        sum_name, last = f"{name}/sum_{number}", number == len(residuals) - 1
        if block.residual_mode == "max":
            x, branch = layers.cast(x, "float32"), layers.cast(branch, "float32")
            x = layers.binary(OP.MAXIMUM, x, branch, sum_name)
            x = layers.activate(x, block.activation, sum_name) if last else x
        elif block.activation in ("relu", "hard_tanh"):
            x = layers.add(x, branch, sum_name, block.activation if last else None)
        else:
            x = layers.add(x, branch, sum_name)
            x = layers.activate(x, block.activation, sum_name) if last else x
    return x


def _excite(layers: Layers, excitation: Excitation, x: int, name: str) -> int:
    x = layers.cast(x, "float32")
    gate = layers.reduce(OP.MEAN, x, [2], f"{name}/mean")
    gate = layers.convolve(gate, _convolution(excitation.squeeze[None]), f"{name}/squeeze", excitation.activation)
    gate = layers.convolve(gate, _convolution(excitation.excite[None]), f"{name}/excite")
    return layers.multiply(x, layers.unary(OP.LOGISTIC, gate, f"{name}/gate"), f"{name}/scaled")


def _convolution(
    kernel: np.ndarray, bias: np.ndarray | None = None, stride: int = 1, padding: tuple[int, int] = (0, 0)
) -> Convolution:
    return Convolution(kernel, bias, stride, dilation=1, groups=1, padding=padding, masked=False)


def _shuffled(convolution: Convolution, groups: int) -> Convolution:
    """The convolution with its output channels interleaved, as `shuffle_groups` does; its groups are gone."""
    dense = without_groups(convolution)
    order = np.arange(dense.kernel.shape[2]).reshape(groups, -1).T.ravel()
    bias, scale = (None if values is None else values[order] for values in (dense.bias, dense.scale))
    return replace(dense, kernel=dense.kernel[:, :, order], bias=bias, scale=scale)
