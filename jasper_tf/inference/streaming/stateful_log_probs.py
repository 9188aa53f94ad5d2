"""Streams a model that sees a bounded time ahead: every sample is computed once, and the result is exact."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np

from jasper_tf.inference.alignment.recording_frames import AcousticModel
from jasper_tf.inference.streaming.log_prob_stream import LogProbStream
from jasper_tf.model.streaming.stream_sizes import StreamSizes
from jasper_tf.model.streaming.streaming_model import StreamingModel

STEP_S = 0.32
"""Longest chunk: a longer one delays the words, and hardly saves compute."""


class SteppingModel(AcousticModel, Protocol):
    """A model that can stream: a JasperCTC without statistics over a recording, or an export of one."""

    @property
    def streaming(self) -> StreamingModel | StreamSizes: ...

    @property
    def compute_stream(self) -> Any:
        """Function (audio [B,S], state [B,N], audio_len [B]) -> (log_probs [B,T',V+1], frames [B], state [B,N])."""


class StatefulLogProbs(LogProbStream):
    """Steps through the audio with the model's state; the frames are those of the whole recording.

    There are no provisional frames: what the look-ahead keeps back is not computed yet.

    Args:
        model: one that can stream.
        chunk_s: seconds of a step, rounded to the model's frames; at most `STEP_S`.

    Raises:
        UserError: the model needs the whole recording.
    """

    def __init__(self, model: SteppingModel, chunk_s: float = STEP_S):
        self.sample_rate, self.frame_s = model.sample_rate, model.frame_s
        self._model, self._streaming = model, model.streaming
        frames = max(1, round(min(chunk_s, STEP_S) / self.frame_s))
        self._step = frames * self._streaming.frame_samples
        self.delay_s = (frames - 1) * self.frame_s + self._streaming.lookahead_s
        self._state = np.zeros((1, self._streaming.state_size), np.float32)
        self._rest = np.zeros(0, np.float32)  # samples of the step that is not complete
        self._none = np.zeros((0, len(model.tokenizer) + 1), np.float32)
        self._is_empty = True

    @property
    def samples_to_next(self) -> int:
        return self._step - len(self._rest)

    def push(self, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        audio = np.concatenate([self._rest, audio])
        steps = len(audio) // self._step
        chunks, self._rest = audio[: steps * self._step].reshape(steps, self._step), audio[steps * self._step :]
        found = [self._advance(chunk, self._step) for chunk in chunks]
        return np.concatenate([self._none, *found]), self._none

    def finish(self) -> np.ndarray:
        if self._is_empty and not len(self._rest):
            return self._none
        frame, end = self._streaming.frame_samples, len(self._rest)
        behind = -end % frame + self._streaming.flush_samples
        return self._advance(np.concatenate([self._rest, np.zeros(behind, np.float32)]), end)

    def _advance(self, chunk: np.ndarray, length: int) -> np.ndarray:
        given = chunk[None], self._state, np.array([length], np.int32)
        log_probs, frames, self._state = self._model.compute_stream(*given)
        self._is_empty = False
        return np.asarray(log_probs[0, : int(frames[0])])
