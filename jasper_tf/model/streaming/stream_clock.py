"""Where each stream of a batch is, and where it ends, in whole numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from jasper_tf.model.streaming.chunk import UNENDED

COLUMNS = 3
"""Of the state, that are not a layer's: the position, and the end as whole output frames and samples + 1."""


@dataclass(frozen=True)
class StreamClock:
    """Counts output frames.

    Its methods take int32 tensors, or what a graph writer has in their place: `xp` is keras.ops or has some of its
    functions, and the values have the operators of Python.

    Args:
        frame_samples: samples of an output frame.
        delay_frames: frames by which the results are behind the audio.
        extra_frames: frames of a recording beyond its samples, at least 1.
        warm_up: frames after which no layer has one before the start of the stream.
    """

    frame_samples: int
    delay_frames: int
    extra_frames: int
    warm_up: int

    def end(self, columns: tuple[Any, ...], samples: Any, audio_len: Any, xp: Any) -> tuple[Any, Any]:
        """Returns the samples of each stream up to its end, `UNENDED` where that is not known, and whether it is.

        Args:
            columns: of the state.
            samples: of the chunk.
            audio_len: of them those of each stream.
        """
        position, whole, rest = columns
        ended = rest > 0
        end = xp.where(ended, whole * self.frame_samples + rest - 1, position * self.frame_samples + audio_len)
        ended = xp.logical_or(ended, audio_len < samples)
        return xp.where(ended, end, UNENDED), ended

    def next(self, position: Any, frames: Any, end: Any, ended: Any, xp: Any) -> tuple[Any, Any, Any]:
        """Returns the columns after a step of `frames`.

        Once the network is filled, only positions relative to the end matter: an endless stream needs no large ones.
        """
        whole, rest = end // self.frame_samples, end % self.frame_samples
        most = xp.where(ended, whole + (1 + self.delay_frames + self.extra_frames), self.warm_up)
        return xp.minimum(position + frames, most), xp.where(ended, whole, 0), xp.where(ended, rest + 1, 0)

    def order(self, position: Any, places: Any, frames: Any, xp: Any) -> Any:
        """Returns the numbers of a step's output frames with those before the stream's start moved to the end.

        Args:
            places: 0, 1, ... `frames` - 1.
        """
        first = xp.minimum(xp.maximum(self.delay_frames - position, 0), frames)
        return xp.minimum(first + places, frames - 1)
