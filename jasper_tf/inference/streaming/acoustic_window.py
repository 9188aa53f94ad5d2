"""The part of a stream that an acoustic model sees at once."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from jasper_tf.features.running_statistics import RunningStatistics
from jasper_tf.inference.alignment.recording_frames import AcousticModel
from jasper_tf.model.jasper_ctc import JasperCTC


class AcousticWindow(ABC):
    """The last samples of a stream, and the frames that a model makes of them.

    Attributes:
        reach: samples behind its time that a frame of the model's input reads.
    """

    reach = 0

    def __init__(self) -> None:
        self._audio: list[np.ndarray] = []
        self._begin = self._end = 0  # of `_audio`, in samples of the stream

    def push(self, audio: np.ndarray) -> None:
        """Adds a copy of audio [S]: a recorder uses its buffer again."""
        self._audio.append(np.array(audio, np.float32))
        self._end += len(audio)

    @abstractmethod
    def log_probs(self, start: int, is_whole: bool) -> np.ndarray:
        """Returns the frames [T',V+1] from sample `start` on, and drops the audio before it.

        `is_whole`: the stream ends here.
        """

    def _samples(self, start: int) -> np.ndarray:
        """The samples from `start` on, which may be forgotten up to there."""
        audio = np.concatenate([np.zeros(0, np.float32), *self._audio])[max(0, start - self._begin) :]
        self._audio, self._begin = [audio], self._end - len(audio)
        return audio


class AudioWindow(AcousticWindow):
    """A window of samples, for a model that gives log-probabilities of audio, such as a SavedModel."""

    def __init__(self, model: AcousticModel):
        super().__init__()
        self._model = model
        self.reach = round(model.frame_s * model.sample_rate)  # the frames at the end have the least context

    def log_probs(self, start: int, is_whole: bool) -> np.ndarray:
        audio = self._samples(start)
        if not len(audio):
            return np.zeros((0, len(self._model.tokenizer) + 1), np.float32)
        log_probs, logit_len = self._model.log_probs(audio[None], np.array([len(audio)], np.int32))
        return log_probs[0, : logit_len[0]]


class FeatureWindow(AcousticWindow):
    """A window of features, each computed once, which are normalized by what was heard.

    Args:
        model: whose layers are used.
        own_s: seconds of a window from which on it is normalized by its own statistics; a shorter one by those of all
            that was heard.
    """

    def __init__(self, model: JasperCTC, own_s: float):
        super().__init__()
        framing, self._stages = model.framing, model.stages
        self._framing, self._hop, self._own = framing, framing.hop_samples, round(own_s * model.sample_rate)
        # With exact_pad as many samples are lost at the end of the audio as are padded.
        lost = framing.pad_samples if framing.exact_pad else 0
        self.reach = framing.fft_samples - framing.pad_samples + lost + (self._stages.splicing - 1) * self._hop
        # The first frames of a part lack what came before: the padding, and the sample of the pre-emphasis.
        self._margin = -(-(framing.pad_samples + 1) // self._hop)
        self._features = np.zeros((0, self._stages.size), np.float32)
        self._first = 0  # of `_features`, in frames of the stream
        self._heard = RunningStatistics()

    def log_probs(self, start: int, is_whole: bool) -> np.ndarray:
        self._extend(is_whole)
        dropped = start // self._hop - self._first
        self._features, self._first = self._features[dropped:], self._first + dropped
        if not len(self._features):
            return np.zeros((0, self._stages.classes), np.float32)
        heard = self._heard
        if self._first == 0 or len(self._features) * self._hop >= self._own:
            heard = RunningStatistics().add(self._features)
        per_feature = self._stages.normalization.normalize == "per_feature"
        return self._stages.log_probs(self._features, *heard.moments(per_feature)).numpy()

    def _extend(self, is_whole: bool) -> None:
        """Computes the features that no later sample changes."""
        known = self._first + len(self._features)
        begin = max(0, known - self._margin)
        found = self._stages.features(self._samples(begin * self._hop)).numpy()
        if not is_whole:
            complete = (self._end - self.reach) // self._hop + 1 - begin
            found = found[: max(0, complete)]
        new = found[known - begin :]
        self._heard.add(new)
        self._features = np.concatenate([self._features, new])
