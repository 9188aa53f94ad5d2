"""Batches of recordings of different lengths."""

from collections.abc import Sequence

import numpy as np


def pad_audio(audio: Sequence[np.ndarray], multiple: int = 1) -> tuple[np.ndarray, np.ndarray]:
    """Pads recordings [S_i] with zeros to a batch, S a multiple of `multiple`: ([B,S] float32, lengths [B] int32)."""
    audio_len = np.array([len(a) for a in audio], np.int32)
    longest = int(audio_len.max(initial=1))
    batch = np.zeros((len(audio), longest + -longest % multiple), np.float32)
    for row, samples in zip(batch, audio, strict=True):
        row[: len(samples)] = samples
    return batch, audio_len
