"""One step of a stream: its chunk of frames at each layer, and what each layer remembers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops


@dataclass(frozen=True)
class Chunk:
    """Consecutive frames (or samples) of a batch of streams, at one layer.

    values: [B, n, ...]. The first is frame `position * rate - delay` of its stream, which is before the stream's start
        where that is negative.
    rate: frames for one frame of the model's output.
    delay: frames by which this layer is behind the audio.
    length: [B] int32, frames of the whole stream; `UNENDED` while its end is unknown.
    """

    values: Any
    rate: int
    delay: int
    length: Any


UNENDED = 1 << 30
"""The length of a stream that goes on."""


@dataclass(frozen=True)
class Window:
    """Which of its input frames a layer reads in each step.

    Args:
        past: frames of the steps before, in front of those of the chunk.
        skipped: frames from there to the first that is read.
        unread: frames at the end that are not read.
        rate, delay: of the input, as `Chunk` has them.
        is_branch: whether the layer waits for another one, to which its output is added.
    """

    past: int
    skipped: int
    unread: int
    rate: int
    delay: int
    is_branch: bool


def is_inside(places: Any, position: Any, rate: int, delay: int, length: Any, xp: Any) -> Any:
    """Whether frames are in their streams, not before the start or beyond the end; arguments as of `StreamClock`.

    Args:
        places: of the frames in their chunk: 0, 1, ...
        position: output frames before the step.
        rate, delay, length: as of `Chunk`.
    """
    index = position * rate - delay + places
    return xp.logical_and(index >= 0, index < length)


class Step:
    """One step of all layers, in their order: every one reads its part of the state and writes the next one.

    Args:
        position: [B] int32, output frames before this step.
        state: [B, N'] float32, the parts of all layers; None: of streams that begin.

    Attributes:
        kept: the parts of the next state, each [B, n] float32.
        windows_read: of the layers that read more than a frame, and of all convolutions; in the order of computation.
        warm_up: output frames after which no layer has a frame before the start of the stream.
    """

    def __init__(self, position: Any, state: Any = None):
        self.position = position
        self.kept: list = []
        self.windows_read: list[Window] = []
        self.warm_up = 1
        self._state = state
        self._read = 0

    def valid(self, chunk: Chunk) -> Any:
        """[B, n] bool: which frames of a chunk are in their streams, not before the start or beyond the end."""
        places = ops.arange(ops.shape(chunk.values)[1], dtype="int32")
        return is_inside(places, self.position[:, None], chunk.rate, chunk.delay, chunk.length[:, None], ops)

    def zero_outside(self, chunk: Chunk) -> Any:
        """The values [B, n, ...] of a chunk, 0 on frames that are not in their streams."""
        valid = self.valid(chunk)
        return ops.where(ops.reshape(valid, (*ops.shape(valid), *[1] * (len(chunk.values.shape) - 2))), chunk.values, 0)

    def remember(self, values: Any, frames: int) -> Any:
        """Puts the last `frames` frames of the steps before in front: [B, n, ...] -> [B, frames + n, ...]."""
        shape = tuple(values.shape[2:])
        width = frames
        for size in shape:
            width *= size
        batch = ops.shape(values)[0]
        if self._state is None:
            past = ops.zeros((batch, frames, *shape), values.dtype)
        else:
            past = self._state[:, self._read : self._read + width]
            past = ops.cast(ops.reshape(past, (batch, frames, *shape)), values.dtype)
        self._read += width
        values = ops.concatenate([past, values], axis=1)
        last = values[:, ops.shape(values)[1] - frames :]
        self.kept.append(ops.cast(ops.reshape(last, (batch, width)), "float32"))
        return values

    def windows(self, chunk: Chunk, width: int, stride: int = 1, left: int = 0, delay: int | None = None):
        """The frames of the windows of a layer, output frame i of which sees `i * stride - left` and `width - 1` more.

        Args:
            chunk: the layer's input; frames outside of the streams are zero in the result.
            width, stride, left: frames.
            delay: of the layer's output, in its frames; default: the least possible.

        Returns:
            values [B, n', ...] that hold exactly the n / stride windows, and their delay.
        """
        is_branch = delay is not None
        if delay is None:
            ahead = max(width - 1 - left, 0)
            delay = -(-(chunk.delay + ahead + 1) // stride) - 1
        before = stride * delay + left - chunk.delay
        past, skipped = max(before, 0), max(-before, 0)  # of the first: the first window begins within the chunk
        unread = past - skipped - width + stride  # a chunk has a multiple of `stride` frames
        self.windows_read.append(Window(past, skipped, unread, chunk.rate, chunk.delay, is_branch))
        self.warm_up = max(self.warm_up, -(-chunk.delay // chunk.rate))
        values = self.remember(self.zero_outside(chunk), past)
        return values[:, skipped : ops.shape(values)[1] - unread], delay
