"""Resamples audio that comes part by part."""

from __future__ import annotations

import numpy as np
import soxr

from jasper_tf.audio.load import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from jasper_tf.errors import UserError


class StreamResampler:
    """Resamples one stream by soxr HQ, as `load_audio` does a file; it holds back some milliseconds until the end.

    Args:
        from_hz, to_hz: sample rates. Equal ones: audio passes unchanged.

    Raises:
        UserError: `from_hz` is below `LOWEST_RATE_HZ` or above `HIGHEST_RATE_HZ`.
    """

    def __init__(self, from_hz: int, to_hz: int):
        if not LOWEST_RATE_HZ <= from_hz <= HIGHEST_RATE_HZ:
            raise UserError(
                f"sample_rate {from_hz}: must be {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz; give the rate of the audio"
            )
        self._stream = None
        if from_hz != to_hz:
            self._stream = soxr.ResampleStream(from_hz, to_hz, 1, dtype="float32", quality="HQ")

    def push(self, audio: np.ndarray) -> np.ndarray:
        """The next audio [S] float32 -> what is known of it at the other rate [S']."""
        return audio if self._stream is None else self._stream.resample_chunk(audio)

    def finish(self) -> np.ndarray:
        """The rest [S']; after that nothing can be pushed."""
        nothing = np.zeros(0, np.float32)
        return nothing if self._stream is None else self._stream.resample_chunk(nothing, last=True)
