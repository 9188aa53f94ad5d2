"""Sizes of the steps of a model that can stream."""

from __future__ import annotations

import math
from dataclasses import dataclass

_MOST = 1 << 24


@dataclass(frozen=True, kw_only=True)
class StreamSizes:
    """What a program must know to step through live audio with a model, see `StreamingModel`.

    Attributes:
        state_size: floats of a stream's state; zeros begin one.
        frame_samples: samples of an output frame; a chunk is a multiple of it.
        flush_samples: samples of any value, after the end of a stream, that bring its last frames.
        lookahead_s: seconds from the time of a frame to the end of the audio that it needs.
    """

    state_size: int
    frame_samples: int
    flush_samples: int
    lookahead_s: float

    def fits(self, frame_samples: int) -> bool:
        """Whether these may be the sizes of a model with frames of so many samples; a file can hold any values."""
        sizes = (self.state_size, self.frame_samples, self.flush_samples)
        return (
            all(type(size) is int and 0 < size < _MOST for size in sizes)
            and self.frame_samples == frame_samples
            and self.flush_samples % frame_samples == 0
            and type(self.lookahead_s) in (int, float)
            and 0 <= self.lookahead_s < math.inf
        )
