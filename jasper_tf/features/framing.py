"""Analysis windows in samples, and the number of feature frames of a recording."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from jasper_tf.errors import UserError


@dataclass(frozen=True)
class Framing:
    """The analysis windows of a recording; every count of feature frames in this package comes from here.

    Args:
        window_samples: length of the analysis window.
        hop_samples: from one frame to the next.
        fft_samples: length of the Fourier transform.
        exact_pad, generation: see `LogMelSpectrogram`.

    Source: NeMo: FilterbankFeatures.get_seq_len.
    """

    window_samples: int
    hop_samples: int
    fft_samples: int
    exact_pad: bool = False
    generation: str = "modern"

    @classmethod
    def from_seconds(
        cls,
        sample_rate: int,
        window_size_s: float,
        window_stride_s: float,
        n_fft: int | None = None,
        exact_pad: bool = False,
        generation: str = "modern",
    ) -> Framing:
        """Converts window and hop to samples, truncated; `n_fft` None is the next power of two of the window.

        Raises:
            UserError: window or hop are shorter than a sample, the transform is shorter than the window, or `exact_pad`
                cannot center an odd hop.
        """
        window, hop = int(window_size_s * sample_rate), hop_samples(window_stride_s, sample_rate)
        if window < 1:
            raise UserError(
                f"preprocessor.window_size: {window_size_s:g} s is less than a sample at {sample_rate} Hz; raise it"
            )
        fft = n_fft or 2 ** math.ceil(math.log2(window))
        if fft < window:
            raise UserError(f"preprocessor.n_fft: {n_fft} is shorter than the window of {window} samples; raise it")
        if exact_pad and hop % 2:
            raise UserError(
                f"preprocessor.exact_pad: needs an even window_stride, not {hop} samples; change one of them"
            )
        return cls(window, hop, fft, exact_pad, generation)

    @property
    def pad_samples(self) -> int:
        """Samples added on each side before the transform."""
        return (self.fft_samples - self.hop_samples) // 2 if self.exact_pad else self.fft_samples // 2

    @property
    def min_samples(self) -> int:
        """Fewest samples with a frame; padding by reflection also needs samples to reflect."""
        if self.generation == "legacy":
            return self.pad_samples + 1
        return self.hop_samples + self.fft_samples - 2 * self.pad_samples

    def frames(self, audio_len: Any, xp: Any = np) -> Any:
        """Returns the valid frames of recordings of `audio_len` samples: ints or arrays; tensors with `xp=keras.ops`.

        A recording without samples has none.
        """
        frames = (audio_len + 2 * self.pad_samples - self.fft_samples) // self.hop_samples
        if self.generation == "legacy":
            frames = frames + 1
        return xp.where(audio_len > 0, xp.maximum(frames, 0), 0)

    def padded_frames(self, samples: int) -> int:
        """Returns T of a batch padded to `samples`, valid and padded frames."""
        return max(0, 1 + (samples + 2 * self.pad_samples - self.fft_samples) // self.hop_samples)


def hop_samples(window_stride_s: float, sample_rate: int) -> int:
    """Returns the samples from one feature frame to the next, truncated like NeMo's, not rounded.

    Raises:
        UserError: less than a sample.
    """
    hop = int(window_stride_s * sample_rate)
    if hop < 1:
        raise UserError(f"window_stride: {window_stride_s:g} s is less than a sample at {sample_rate} Hz; raise it")
    return hop
