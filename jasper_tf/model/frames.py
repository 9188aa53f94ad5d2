"""Converts seconds and samples of audio to encoder frames, as a model's layers count them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from jasper_tf.config import Config
from jasper_tf.data.augment import sped_length, speed_range
from jasper_tf.features.framing import Framing
from jasper_tf.model.blocks.jasper_block import JasperBlock
from jasper_tf.model.encoder import build_blocks, output_length


def audio_framing(cfg: Config) -> Framing:
    """Returns the framing of a configuration's model."""
    p = cfg.model.preprocessor
    return Framing.from_seconds(
        cfg.model.sample_rate, p.window_size, p.window_stride, p.n_fft, p.exact_pad, p.generation
    )


def count_encoder_frames(samples: Any, framing: Framing, blocks: Sequence[JasperBlock]) -> Any:
    """Returns the encoder frames T' of recordings of `samples` samples, an int or an integer array."""
    return output_length(blocks, framing.frames(samples))


def context_frames(blocks: Sequence[JasperBlock]) -> tuple[float, float]:
    """The feature frames before and after its own that an encoder frame reads; infinite with squeeze-and-excitation."""
    before = after = 0.0
    stride = 1
    for block in blocks:
        for number in range(len(block.convolutions)):
            for layer in block.layers_of_sub_block(number):
                left = layer.padding[0]
                before += stride * left
                after += stride * (layer.dilation * (layer.kernel_width - 1) - left)
                stride *= layer.stride
        if block.excitation is not None:
            before = after = math.inf
    return before, after


def encoder_frames(cfg: Config, section: str) -> Callable[[np.ndarray], np.ndarray]:
    """Returns a function from the durations of recordings (seconds) to their encoder frames T' in `model.<section>`.

    For a training section at the highest speed of its augmentor, where the frames are fewest. Silence is not trimmed.
    """
    model, dataset = cfg.model, getattr(cfg.model, section)
    fastest = 1.0
    if section == "train_ds" and dataset is not None and dataset.augmentor is not None:
        fastest = speed_range(dataset.augmentor.speed)[1]
    framing = audio_framing(cfg)
    blocks = build_blocks([dataclasses.asdict(b) for b in model.encoder.jasper], conv_mask=model.encoder.conv_mask)

    def output_frames(duration_s: np.ndarray) -> np.ndarray:
        samples = np.rint(np.asarray(duration_s) * model.sample_rate)
        return count_encoder_frames(sped_length(samples, fastest), framing, blocks)

    return output_frames
