"""Floating point operations of a model, computed from the shapes of its layers."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from jasper_tf.model.blocks.jasper_block import JasperBlock
from jasper_tf.model.encoder import ConvASREncoder

if TYPE_CHECKING:  # for its layers alone, which run without TensorFlow
    from jasper_tf.model.jasper_ctc import JasperCTC


def forward_flops(model: JasperCTC, samples: int) -> int:
    """Floating point operations of encoder and head for one utterance padded to `samples` of audio.

    A multiplication with its addition counts as 2, and only convolutions and linear layers count:

        2 · ( Σ convolutions      T_out · kernel · C_in / groups · C_out
            + Σ depthwise         T_out · kernel · C
            + Σ squeeze-excite    2 · C · C / reduction          (once an utterance)
            +   head              T' · C · (V + 1) )

    T_out is the padded number of frames out of the layer. Features, normalization, activations and CTC are left
    out, as is usual (PaLM, arXiv 2204.02311, appendix B).
    """
    shape: tuple = (1, samples)
    for layer in model.layers:
        if layer.name in ("log_mel", "splicing", "normalization"):
            shape, _ = layer.compute_output_shape(shape, (1,))
    flops, frames = encoder_flops(model.encoder, *shape[1:])
    return flops + 2 * frames * math.prod(model.decoder.kernel.shape)


def encoder_flops(encoder: ConvASREncoder, frames: int, channels: int) -> tuple[int, int]:
    """The encoder's part of `forward_flops` for features [frames, channels]; returned with the frames of its output."""
    multiply_adds = 0
    for block in encoder.blocks:
        multiply_adds += _block_multiply_adds(block, frames, channels)
        frames, channels = int(block.output_frames(frames)), block.filters
    return 2 * multiply_adds, frames


def training_flops(model: JasperCTC, samples: int) -> int:
    """Floating point operations of a training step: three times `forward_flops`.

    The backward pass computes as much for the gradient of each layer's input, and as much for that of its weights. The
    savings of frozen layers and the head's work for `interctc` are not counted.
    """
    return 3 * forward_flops(model, samples)


def _block_multiply_adds(block: JasperBlock, frames_in: int, channels: int) -> int:
    total, frames = 0, frames_in
    for number, convolution in enumerate(block.convolutions):
        for layer in (*block.depthwise[number : number + 1], convolution):
            frames = int(layer.output_length(frames))
            # The kernel of a depthwise convolution may be shared by several channels.
            taps = layer.kernel_width * channels if layer.filters is None else math.prod(layer.kernel.shape)
            total += frames * taps
        channels = block.filters
    if block.excitation is not None:
        total += math.prod(block.excitation.squeeze.shape) + math.prod(block.excitation.excite.shape)
    for convolution in block.residual_convolutions:
        total += int(convolution.output_length(frames_in)) * math.prod(convolution.kernel.shape)
    return total
