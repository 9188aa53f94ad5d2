"""Seconds of audio to encoder frames, as a configuration's model gives them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from jasper_tf.config import Config
from jasper_tf.data.augment import AudioAugmentor
from jasper_tf.model.encoder import build_blocks, output_length


def encoder_frames(cfg: Config, section: str) -> Callable[[np.ndarray], np.ndarray]:
    """Seconds of audio [N] -> the encoder frames T' [N] that CTC has of it in `model.<section>`.

    Of a training section at the highest speed of its augmentor: what is feasible then always is. Silence is not
    trimmed.
    """
    model, dataset = cfg.model, getattr(cfg.model, section)
    fastest = 1.0
    if section == "train_ds" and dataset is not None and "speed" in (dataset.augmentor or {}):
        fastest = AudioAugmentor({"speed": dataset.augmentor["speed"]}).speeds[1]
    hop = round(model.preprocessor.window_stride * model.sample_rate)
    blocks = build_blocks([dataclasses.asdict(b) for b in model.encoder.jasper], conv_mask=model.encoder.conv_mask)
    # NeMo: legacy features count one frame more, exact_pad leaves one out.
    extra_frames = (model.preprocessor.generation == "legacy") - model.preprocessor.exact_pad

    def output_frames(duration_s: np.ndarray) -> np.ndarray:
        frames = (duration_s / fastest * model.sample_rate).astype(np.int64) // hop + extra_frames
        return output_length(blocks, np.maximum(frames, 0))

    return output_frames
