"""Transcribes one stream of audio while it is heard."""

from __future__ import annotations

import numpy as np

from jasper_tf.audio.load import validate_samples
from jasper_tf.audio.pcm import PCM_TYPES, to_float
from jasper_tf.audio.stream_resampler import StreamResampler
from jasper_tf.errors import UserError
from jasper_tf.inference.streaming.endpoint import EndpointDetector
from jasper_tf.inference.streaming.live_decoder import LiveDecoder
from jasper_tf.inference.streaming.live_update import LiveUpdate
from jasper_tf.inference.streaming.log_prob_stream import LogProbStream
from jasper_tf.inference.transcript import ScoredText

_LONGEST_OPEN_S = 30.0
"""A text whose words are not final for so long is ended: no word is so long, and memory is bounded."""

_NAME = "live audio"
"""In messages, where a recording has its path."""


class LiveTranscription:
    """One stream of audio, pushed in parts of any size; gives the words as they become known. See `Transcriber.stream`.

    The final words are the same however the audio is divided. Memory does not grow with the stream. Used by one thread
    at a time.

        live = transcriber.stream()
        for block in microphone:
            for update in live.push(block):
                print(update.kind, update.text)
        for update in live.finish():
            print(update.kind, update.text)

    Args:
        log_probs: the acoustic model's side.
        decoder: the decoder's side.
        endpoint_s: a pause from which on the words before it are final and the next ones begin another text, seconds;
            0: none is long enough.
        sample_rate: of the audio that is pushed, Hz. Default: the model's.

    Raises:
        UserError: a value is out of range.

    Attributes:
        delay_s: the longest time from a sound to its final frame, seconds of audio: a word is final when the next one
            begins, or at the endpoint, that much later.
        note: why words may differ from those of a whole recording, one line, or empty.
        sample_rate: of the audio that is pushed, Hz.
        heard_s: seconds of audio that were pushed.
    """

    def __init__(
        self, log_probs: LogProbStream, decoder: LiveDecoder, endpoint_s: float = 0.8, sample_rate: int | None = None
    ):
        self.sample_rate = log_probs.sample_rate if sample_rate is None else sample_rate
        self.delay_s, self.note = log_probs.delay_s, log_probs.note
        self._log_probs, self._decoder = log_probs, decoder
        self._resampler = StreamResampler(self.sample_rate, log_probs.sample_rate)
        silent = np.array([not piece for piece in decoder.tokenizer.word_pieces] + [True])
        self._endpoint = EndpointDetector(endpoint_s, log_probs.frame_s, silent)
        self._samples = 0  # at the model's rate
        self._pushed = 0  # at the rate of the audio
        self._partial = ""
        self._finished = False
        self._is_cut = False  # the line, where a word had no end

    @property
    def heard_s(self) -> float:
        return self._pushed / self.sample_rate

    def push(self, audio: np.ndarray) -> list[LiveUpdate]:
        """The next audio [S], floats of full scale 1 or PCM (int16, ...), S of any size -> what is known now.

        For each chunk that is complete: the words that became final, if any, then those that are not, if they changed.

        Raises:
            UserError: audio of another shape or type, with NaN, infinite or impossibly large samples (nothing of it is
                heard then, and the stream can go on); the stream is finished, or the model fails.
        """
        if self._finished:
            raise UserError("the stream is finished; start another one")
        audio = _as_samples(audio)
        self._pushed += len(audio)
        return self._hear(self._resampler.push(audio))

    def finish(self) -> list[LiveUpdate]:
        """Ends the stream: the last words, all final. After that nothing can be pushed.

        Raises:
            UserError: the stream is finished already, or the model fails.
        """
        if self._finished:
            raise UserError("the stream is finished; start another one")
        updates = self._hear(self._resampler.finish())
        self._finished = True
        heard_s = self.heard_s
        updates += self._decode(self._log_probs.finish(), heard_s)
        words = self._decoder.finish()
        return [*updates, LiveUpdate.of_words("final", words, heard_s, True, self._n_best())]

    def warm_up(self) -> None:
        """Runs a step of silence and ends the stream, so that the next ones of this model begin without waiting."""
        self.push(np.zeros(round(self.delay_s * self.sample_rate) + 1, np.float32))
        self.finish()

    def _hear(self, audio: np.ndarray) -> list[LiveUpdate]:
        updates: list[LiveUpdate] = []
        while len(audio):
            # Step by step: what is final does not depend on how much comes at once.
            taken, audio = np.split(audio, [self._log_probs.samples_to_next])
            final, provisional = self._log_probs.push(taken)
            self._samples += len(taken)
            if len(final) or len(provisional):
                words = self._decode(final, heard_s := self._samples / self._log_probs.sample_rate)
                updates += [*words, *self._look_ahead(provisional, heard_s, bool(words))]
        return updates

    def _decode(self, log_probs: np.ndarray, heard_s: float) -> list[LiveUpdate]:
        """The final words of final frames."""
        updates, words = [], []
        for frames, is_end in self._endpoint.split(log_probs):
            words += self._decoder.push(frames)
            if is_end:
                words += self._decoder.finish()
                updates.append(LiveUpdate.of_words("final", words, heard_s, True, self._n_best()))
                words, self._is_cut = [], False
            elif self._decoder.open_s > _LONGEST_OPEN_S:
                words += self._decoder.finish()
                self._is_cut = True
        if words:
            updates.append(LiveUpdate.of_words("final", words, heard_s))
        return updates

    def _n_best(self) -> tuple[ScoredText, ...] | None:
        return None if self._is_cut else self._decoder.n_best

    def _look_ahead(self, provisional: np.ndarray, heard_s: float, changed: bool) -> list[LiveUpdate]:
        update = LiveUpdate.of_words("partial", self._decoder.look_ahead(provisional), heard_s)
        if update.text == self._partial and not changed:
            return []
        self._partial = update.text
        return [update]


def _as_samples(audio: np.ndarray) -> np.ndarray:
    audio = np.asarray(audio)
    if audio.ndim != 1:
        raise UserError(f"{_NAME}: has the shape {list(audio.shape)}; give the samples of one channel, [S]")
    if audio.dtype.kind != "f" and audio.dtype.name not in PCM_TYPES:
        raise UserError(f"{_NAME}: has the type {audio.dtype}; give floats of full scale 1, or {', '.join(PCM_TYPES)}")
    samples = to_float(audio)
    if len(samples):
        validate_samples(_NAME, samples)
    return samples
