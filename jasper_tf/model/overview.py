"""Table of a model's blocks."""

from __future__ import annotations

import math

import keras

from jasper_tf.model.flops import forward_flops
from jasper_tf.model.jasper_ctc import JasperCTC


def model_overview(model: JasperCTC) -> str:
    """Markdown: a row for each block and the head, with shapes and parameters, and the totals."""
    lines = [
        "| | layers | channels | kernel | stride | dilation | dropout | residual | SE | trainable parameters |",
        "|---|---|---:|---:|---:|---:|---:|---|---|---:|",
    ]
    for number, block in enumerate(model.encoder.blocks):
        convolution = (block.depthwise or block.convolutions)[-1]
        kind = f"{len(block.convolutions)} x {'separable' if block.depthwise else 'convolution'}"
        residual = ("dense" if block.residual_dense else "yes") if block.residual else ""
        cells = [
            f"block {number}",
            kind,
            block.filters,
            convolution.kernel_width,
            block.subsampling_factor,
            convolution.dilation,
            f"{block.dropout.rate:g}",
            residual,
            "yes" if block.excitation else "",
            f"{_trainable(block):,}",
        ]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    head = model.decoder
    lines.append(f"| head | linear | {head.num_classes + 1} | 1 | 1 | 1 | | | | {_trainable(head):,} |")
    flops = forward_flops(model, 10 * model.sample_rate) / 10
    return "\n".join(
        [
            *lines,
            "",
            f"{_trainable(model):,} trainable parameters; one output frame every {1000 * model.frame_s:g} ms; "
            f"{_with_prefix(flops)}FLOP for a second of audio, forward",
        ]
    )


def _trainable(layer: keras.Layer) -> int:
    return sum(math.prod(variable.shape) for variable in layer.trainable_variables)


def _with_prefix(value: float) -> str:
    """3 significant digits with an SI prefix: "1.23 G"."""
    power = min(5, int(math.log10(max(value, 1)) // 3))
    return f"{value / 1000**power:.3g} {'_kMGTP'[power].strip('_')}"
