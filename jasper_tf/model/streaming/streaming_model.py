"""Exact computation of a recognizer on live audio, chunk by chunk."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

from keras import ops

from jasper_tf.model.blocks.jasper_block import JasperBlock
from jasper_tf.model.blocks.masked_conv import MaskedConv1D
from jasper_tf.model.encoder import output_length
from jasper_tf.model.streaming.chunk import UNENDED, Chunk, Step
from jasper_tf.model.streaming.requirements import require_streamable
from jasper_tf.model.streaming.stream_clock import COLUMNS, StreamClock
from jasper_tf.model.streaming.stream_sizes import StreamSizes

if TYPE_CHECKING:  # it has a StreamingModel
    from jasper_tf.model.jasper_ctc import JasperCTC


class StreamingModel:
    """Steps through live audio with a model's own layers; the log-probabilities are those of the whole recording.

    The state is one array of floats, [B, N], each row a stream of its own that may begin and end when it likes; zeros
    are a stream that begins. It holds the last samples and the last inputs of every convolution, so its size is that
    of the network's look-back, and does not grow.

    Args:
        model: a recognizer with fixed (or no) normalization of its features, without squeeze-and-excitation.

    Attributes:
        sample_rate: Hz.
        frame_samples: samples of an output frame; a chunk is a multiple of it.
        delay_frames: output frames by which the results are behind the audio.
        lookahead_s: seconds from the time of a frame to the end of the audio that it needs, in whole frames.
        flush_samples: samples of a chunk after the end of a stream that brings all frames that are still to come.
        state_size: N.
        clock: counts the frames.
        windows: what each layer reads in a step, see `Step.windows_read`.

    Raises:
        UserError: the model needs the whole recording; names the key of its configuration.

    Example:
        >>> streaming = model.streaming
        >>> state = streaming.initial_state()
        >>> log_probs, frames, state = streaming.step(chunk, state)
        >>> log_probs, frames, state = streaming.finish(state)
    """

    def __init__(self, model: JasperCTC):
        require_streamable(model)
        self.model = model
        self.sample_rate = model.sample_rate
        self.frame_samples = model.hop * model.encoder.subsampling_factor
        one = ops.zeros((1,), "int32")
        step = Step(one)
        chunk = self._run(step, ops.zeros((1, self.frame_samples), "float32"), one + UNENDED)
        self.delay_frames, self.windows = chunk.delay, tuple(step.windows_read)
        self.lookahead_s = (chunk.delay + 1) * self.frame_samples / model.sample_rate
        self.state_size = COLUMNS + sum(part.shape[1] for part in step.kept)
        # With NeMo's padding of dilated convolutions a recording has more frames at its end.
        many = output_length(model.encoder.blocks, model.framing.frames(self.frame_samples << 10))
        extra = max(1, int(many) - (1 << 10))
        self.flush_samples = (self.delay_frames + extra) * self.frame_samples
        self.clock = StreamClock(self.frame_samples, self.delay_frames, extra, max(chunk.delay, step.warm_up))

    @property
    def sizes(self) -> StreamSizes:
        """The sizes, for an export."""
        return StreamSizes(
            state_size=self.state_size,
            frame_samples=self.frame_samples,
            flush_samples=self.flush_samples,
            lookahead_s=self.lookahead_s,
        )

    def initial_state(self, batch: int = 1) -> Any:
        """The state of streams that begin: zeros [B, N] float32."""
        return ops.zeros((batch, self.state_size), "float32")

    def step(self, audio: Any, state: Any, audio_len: Any = None) -> tuple[Any, Any, Any]:
        """Computes what the next chunk of each stream brings.

        Args:
            audio: [B, S] float32, S a multiple of `frame_samples`.
            state: [B, N].
            audio_len: [B] int32, samples of the chunk; a stream with fewer than S of them ends there. What comes after
                the end is ignored. Default: all streams go on.

        Returns:
            log_probs [B, S / frame_samples, V+1] float32, how many of these frames are valid [B] int32 (none while the
            look-ahead fills, none when all were given), and the next state [B, N].
        """
        audio = ops.convert_to_tensor(audio, "float32")
        state = ops.convert_to_tensor(state, "float32")
        samples = ops.shape(audio)[1]
        frames = samples // self.frame_samples
        columns = tuple(ops.cast(state[:, column], "int32") for column in range(COLUMNS))
        audio_len = ops.full_like(columns[0], samples) if audio_len is None else ops.cast(audio_len, "int32")
        end, ended = self.clock.end(columns, samples, audio_len, ops)
        step = Step(columns[0], state[:, COLUMNS:])
        chunk = self._run(step, audio, end)

        # Valid frames to the left.
        order = self.clock.order(columns[0][:, None], ops.arange(frames, dtype="int32")[None], frames, ops)
        log_probs = ops.take_along_axis(ops.log_softmax(chunk.values, axis=-1), order[:, :, None], axis=1)
        count = ops.sum(ops.cast(step.valid(chunk), "int32"), axis=1)
        columns = self.clock.next(columns[0], frames, end, ended, ops)
        own = [ops.cast(column, "float32")[:, None] for column in columns]
        return log_probs, count, ops.concatenate([*own, *step.kept], axis=1)

    def finish(self, state: Any) -> tuple[Any, Any, Any]:
        """Ends all streams of `state` where they are: the results are those of `step` for their last frames."""
        batch = ops.shape(state)[0]
        return self.step(ops.zeros((batch, self.flush_samples), "float32"), state, ops.zeros((batch,), "int32"))

    def _run(self, step: Step, audio: Any, length: Any) -> Chunk:
        """From samples [B, S] of streams of `length` samples to logits."""
        chunk = self._features(step, Chunk(audio, self.frame_samples, 0, length))
        panes = [chunk]
        for block in self.model.encoder.blocks:
            chunk = _step_block(step, block, panes)
            panes = [*panes, chunk] if block.residual_dense else [chunk]
        return dataclasses.replace(chunk, values=self.model.decoder(chunk.values))

    def _features(self, step: Step, audio: Chunk) -> Chunk:
        log_mel, framing = self.model.get_layer("log_mel"), self.model.framing
        values = log_mel.preemphasize(step.remember(step.zero_outside(audio), 1))[:, 1:]
        # The window is the middle of the transform's samples; those around it have no weight.
        margin = framing.fft_samples - framing.window_samples
        before = margin // 2
        values, delay = step.windows(
            dataclasses.replace(audio, values=values),
            framing.window_samples,
            framing.hop_samples,
            framing.pad_samples - before,
        )
        features = log_mel.log_mel(ops.pad(values, [[0, 0], [before, margin - before]]))
        rate = audio.rate // framing.hop_samples
        chunk = Chunk(features, rate, delay, framing.frames(audio.length, ops))
        for layer in self.model.layers:
            if layer.name == "splicing":
                count = ops.shape(chunk.values)[1]
                values, delay = step.windows(chunk, layer.frame_splicing)
                values = layer(values, _all_frames(values))[0][:, :count]
                chunk = Chunk(values, rate, delay, chunk.length)
        # Normalized, then padded to a multiple of `pad_to`.
        values, _ = self.model.get_layer("normalization")(chunk.values, _all_frames(chunk.values))
        return dataclasses.replace(chunk, values=values[:, : ops.shape(chunk.values)[1]])


def _all_frames(values: Any) -> Any:
    """Lengths [B] int32 that leave nothing of values [B, n, F] out."""
    return ops.full((ops.shape(values)[0],), ops.shape(values)[1], dtype="int32")


def _step_block(step: Step, block: JasperBlock, panes: list[Chunk]) -> Chunk:
    """`JasperBlock.call` on chunks."""
    chunk = panes[-1]
    for number in range(len(block.convolutions)):
        for layer in block.layers_of_sub_block(number):
            chunk = _step_convolution(step, layer, chunk)
        chunk = dataclasses.replace(chunk, values=block.after_convolution(chunk.values, number))
    branches = []
    for pane, layer in zip(block.residual_sources(panes), block.residual_convolutions, strict=True):
        branches.append(_step_convolution(step, layer, pane, chunk.delay).values)
    return dataclasses.replace(chunk, values=block.after_residuals(chunk.values, branches))


def _step_convolution(step: Step, layer: MaskedConv1D, chunk: Chunk, delay: int | None = None) -> Chunk:
    width = layer.dilation * (layer.kernel_width - 1) + 1
    values, delay = step.windows(chunk, width, layer.stride, layer.padding[0], delay)
    values = layer(values, pad=False)
    return Chunk(values, chunk.rate // layer.stride, delay, layer.output_length(chunk.length))
