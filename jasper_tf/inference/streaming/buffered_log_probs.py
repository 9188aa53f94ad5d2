"""Streams any trained model: overlapping windows of audio, of which the frames in the middle are kept."""

from __future__ import annotations

import math

import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.inference.alignment.recording_frames import AcousticModel
from jasper_tf.inference.streaming.acoustic_window import AcousticWindow, AudioWindow, FeatureWindow
from jasper_tf.inference.streaming.log_prob_stream import LogProbStream
from jasper_tf.model.frames import context_frames
from jasper_tf.model.jasper_ctc import JasperCTC

_OWN_STATISTICS_S = 7.5
"""Seconds of a window that is normalized by its own statistics."""

LONGEST_WINDOW_S = 300.0
"""Of left, chunk and right together; it bounds the memory."""


def validate_window(left_s: float, chunk_s: float, right_s: float) -> None:
    """Requires that the seconds of a window are possible.

    Raises:
        UserError: a value is below 0, not finite, or the window longer than `LONGEST_WINDOW_S`.
    """
    for name, value in (("left_s", left_s), ("right_s", right_s)):
        if not value >= 0:
            raise UserError(f"{name} {value:g}: must be a number of seconds, 0 or more")
    if not chunk_s > 0:
        raise UserError(f"chunk_s {chunk_s:g}: must be a number of seconds above 0")
    if not left_s + chunk_s + right_s <= LONGEST_WINDOW_S:
        raise UserError(
            f"left_s, chunk_s and right_s: {left_s + chunk_s + right_s:g} s together, more than "
            f"{LONGEST_WINDOW_S:g} s; shorten them"
        )


class BufferedLogProbs(LogProbStream):
    """Runs a model over `left_s + chunk_s + right_s` seconds for each chunk, and keeps the chunk's frames.

    The frames of the right context are provisional. All three are rounded to the model's frames, and `right_s` is at
    least as long as the model's analysis window reaches. Where the window has all of the recording, the frames are
    those of the offline model.

    A JasperCTC computes each feature once. With `normalize: per_feature` (or `all_features`) it normalizes a window of
    `_OWN_STATISTICS_S` or more by its own statistics, as recordings were in training, and a shorter one by those of all
    that was heard. Other models, such as a SavedModel, take audio: they normalize each window by itself.

    Args:
        model: gives log-probabilities.
        left_s: audio before the chunk that the model sees with it: costs compute, no delay.
        chunk_s: audio whose frames become final in a step.
        right_s: audio behind the chunk that the model waits for.

    Raises:
        UserError: as `validate_window`.

    Source: NeMo: speech_to_text_buffered_infer_ctc.py (FrameBatchASR).
    """

    def __init__(self, model: AcousticModel, left_s: float = 4.8, chunk_s: float = 1.6, right_s: float = 1.6):
        validate_window(left_s, chunk_s, right_s)
        self.sample_rate, self.frame_s = model.sample_rate, model.frame_s
        self._step = round(model.frame_s * model.sample_rate)  # samples from frame to frame
        self._window: AcousticWindow
        if isinstance(model, JasperCTC):
            self._window = FeatureWindow(model, _OWN_STATISTICS_S)
            self.note = _note(model, left_s, right_s)
        else:
            self._window = AudioWindow(model)
        self._left, right, self._chunk = (round(seconds / self.frame_s) for seconds in (left_s, right_s, chunk_s))
        self._chunk = max(1, self._chunk)
        self._right = max(right, -(-self._window.reach // self._step))
        self.delay_s = (self._chunk + self._right) * self.frame_s
        self._classes = len(model.tokenizer) + 1
        self._heard = 0  # samples
        self._done = 0  # final frames

    @property
    def samples_to_next(self) -> int:
        return (self._done + self._chunk + self._right) * self._step - self._heard

    def push(self, audio: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        final = []
        provisional = np.zeros((0, self._classes), np.float32)
        while len(audio) >= (needed := self.samples_to_next):
            self._take(audio[:needed])
            audio = audio[needed:]
            frames = self._frames(is_whole=False)
            final.append(frames[: self._chunk])
            provisional = frames[self._chunk :]
            self._done += self._chunk
        self._take(audio)
        return np.concatenate([np.zeros((0, self._classes), np.float32), *final]), provisional

    def finish(self) -> np.ndarray:
        return self._frames(is_whole=True)

    def _take(self, audio: np.ndarray) -> None:
        self._window.push(audio)
        self._heard += len(audio)

    def _frames(self, is_whole: bool) -> np.ndarray:
        """The frames from the first that is not final yet."""
        first = max(0, self._done - self._left)
        return self._window.log_probs(first * self._step, is_whole)[self._done - first :]


def _note(model: JasperCTC, left_s: float, right_s: float) -> str:
    frame_s = model.hop / model.sample_rate
    before_s, after_s = (frames * frame_s for frames in context_frames(model.encoder.blocks))
    if before_s <= left_s and after_s <= right_s:
        return ""
    if math.isinf(after_s):
        reads = "whole recordings"
    else:
        reads = f"{before_s:.1f} s before and {after_s:.1f} s after each frame"
    return (
        f"the model was trained to read {reads}, here it has {left_s:g} s and {right_s:g} s: "
        "words may differ from those of the whole recording"
    )
