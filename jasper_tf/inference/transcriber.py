"""Transcribes recordings in batches of bounded size and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np

from jasper_tf.audio.load import ChannelSelector
from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.config.decoding_overrides import read_decoding
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.build_array_decoder import build_array_decoder
from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder
from jasper_tf.errors import UserError
from jasper_tf.inference.alignment.recording_frames import AcousticModel
from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.recording import hold_samples, is_one_recording, open_recording
from jasper_tf.inference.recording_job import Piece, RecordingJob
from jasper_tf.inference.segments import Segmentation
from jasper_tf.inference.streaming.live_transcription import LiveTranscription
from jasper_tf.inference.transcript import Transcript, read_outputs

_READERS = 4
_LOOK_AHEAD = 128
"""Number of recordings whose headers are read in advance, to batch those of similar length."""


class Recognizer(AcousticModel, Protocol):
    """The interface of a model that a Transcriber uses: JasperCTC, SavedModelTranscriber and EdgeRecognizer have it."""

    @property
    def decoding(self) -> HypothesisDecoder: ...

    def recognize_batch(
        self,
        audio: np.ndarray,
        audio_len: np.ndarray,
        words: bool,
        decoder: HypothesisDecoder | None,
        hot_words: GivenHotWords | None,
    ) -> Mapping[str, np.ndarray]:
        """Recognizes audio [B,S] float32, audio_len [B] int32 -> the outputs that `read_outputs` takes.

        `decoder` None: the model's own. `hot_words` None: those of the decoder's configuration.
        """


class Transcriber:
    """Transcribes recordings of any number and length.

    Headers are read in advance, and recordings, or pieces of long ones, of similar length are batched. Audio is decoded
    for the current batch and the next one only.

    Args:
        model: a JasperCTC, a SavedModelTranscriber or an EdgeRecognizer, as `load_recognizer` gives them.
        chunking: which recordings are cut, and how. Without a label that starts a word there are no words to join
            pieces by: recordings stay whole.
        decoding: how log-probabilities become text: a `DecodingConfig` or the keys of one, such as
            `{"strategy": "beam", "beam": {"ngram_lm_model": "lm.arpa.gz"}}`. Default: the model's own.
        words: whether transcripts have `words`, `segments` and `confidence`.
        batch_size: largest number of recordings or pieces in a batch.
        batch_s: longest batch in seconds, padding included; a single piece may be longer. It bounds the memory.
        channel_selector: "average" or the number of a channel, counted from 0.
        trim_silence: whether silence at both ends of a recording is cut off; times then count from where it was cut,
            and a recording that is recognized in pieces is in memory as a whole.
        segmentation: where words are cut into segments. Default: `Segmentation()`.

    Raises:
        UserError: `batch_size` or `batch_s` is not above 0; `decoding` has a wrong value, or its language model or hot
            words cannot be used.
    """

    def __init__(
        self,
        model: Recognizer,
        chunking: Chunking | None = None,
        decoding: DecodingConfig | Mapping[str, Any] | None = None,
        words: bool = True,
        batch_size: int = 16,
        batch_s: float = 240.0,
        channel_selector: ChannelSelector = "average",
        trim_silence: bool = False,
        segmentation: Segmentation | None = None,
    ):
        if batch_size < 1 or not batch_s > 0:
            raise UserError(f"batches of {batch_size} recordings and {batch_s:g} s: both must be above 0")
        self.model = model
        chunking = Chunking() if chunking is None else chunking
        self.chunking = chunking if model.tokenizer.starts_word.any() else Chunking(chunk_s=0)
        self.decoder = None if decoding is None else build_array_decoder(read_decoding(decoding), model.tokenizer)
        self.words = words
        self.batch_size = batch_size
        self.batch_s = batch_s
        self.channel_selector = channel_selector
        self.trim_silence = trim_silence
        self.segmentation = segmentation

    def transcribe(
        self, recordings: Any, sample_rate: int | None = None, hot_words: GivenHotWords | None = None
    ) -> Any:
        """Transcribes one recording to a Transcript, or an iterable of several to a list in their order.

        Args:
            recordings: what `open_recording` takes, or an iterable of it: a list, a generator, a `tf.data.Dataset`.
            sample_rate: of arrays, Hz. Default: the model's. Files state their own.
            hot_words: words or phrases that are expected, with what a text gains by each (a natural logarithm; 8 is
                much): `{"jasper": 8}`; or a list, whose words gain `hot_word_weight` each. For a beam search. Default:
                those of its configuration.

        Raises:
            UserError: the first that cannot be read; `recordings` is nothing of this kind; hot words that the decoder
                cannot use.
        """
        if is_one_recording(recordings):
            return self.transcribe([recordings], sample_rate, hot_words)[0]
        found = []
        for one in self.transcribe_each(recordings, sample_rate, hot_words=hot_words):
            if isinstance(one, UserError):
                raise one
            found.append(one)
        return found

    def transcribe_each(
        self,
        recordings: Iterable[Any],
        sample_rate: int | None = None,
        on_progress: Callable[[float, float, int], None] | None = None,
        hot_words: GivenHotWords | None = None,
    ) -> Iterator[Transcript | UserError]:
        """Yields each recording's transcript, or the error that prevented it, in order and as soon as it is known.

        Args:
            recordings: each what `open_recording` takes; `_LOOK_AHEAD` at a time are taken from a generator.
            sample_rate: of arrays, Hz. Default: the model's.
            on_progress: called after each batch with the seconds done, the seconds of the recordings opened so far,
                and their number.
            hot_words: as `transcribe`.

        Raises:
            UserError: hot words that the decoder cannot use, or the model fails.
        """
        jobs = _Jobs(self.open_job(source, sample_rate) for source in recordings)
        with ThreadPoolExecutor(_READERS) as pool:
            batches = self._batches(jobs)
            ahead = self._read(pool, next(batches, None))
            while ahead is not None:
                batch, ahead = ahead, self._read(pool, next(batches, None))
                self._recognize(batch, hot_words)
                if on_progress is not None:
                    jobs.done += sum(piece.job.samples_per_part for piece, _ in batch)
                    rate = self.model.sample_rate
                    on_progress(jobs.done / rate, jobs.opened / rate, jobs.count)
                yield from jobs.finished()
            yield from jobs.finished()

    def stream(
        self,
        left_s: float = 4.8,
        chunk_s: float = 1.6,
        right_s: float = 1.6,
        endpoint_s: float = 0.8,
        hot_words: GivenHotWords | None = None,
        sample_rate: int | None = None,
    ) -> LiveTranscription:
        """Starts the transcription of a stream of audio, such as a microphone's; it takes any model.

        A model sees `left_s + chunk_s + right_s` seconds at once. A longer `left_s` costs compute, a longer `right_s`
        delay: words are final `chunk_s + right_s` seconds after they were said.

        A model with fixed normalization and without squeeze-and-excitation that looks at most 2 s ahead
        (`model.streaming.lookahead_s`; configs/an4_streaming.yaml) needs no windows: it keeps a state, its words are
        those of the whole recording, and final after its look-ahead and a chunk of at most 0.32 s.

        Args:
            left_s, chunk_s, right_s: see `BufferedLogProbs`.
            endpoint_s, sample_rate: see `LiveTranscription`.
            hot_words: as `transcribe`.

        Raises:
            UserError: a value is out of range; hot words that the decoder cannot use.
        """
        from jasper_tf.inference.streaming.start_stream import start_stream  # Keras, which an edge model does without

        return start_stream(
            self.model,
            self.decoder or self.model.decoding,
            left_s,
            chunk_s,
            right_s,
            endpoint_s,
            hot_words,
            sample_rate,
        )

    def open_job(self, source: Any, sample_rate: int | None = None) -> RecordingJob:
        """Opens a recording and divides it into pieces; its `result` is the error if it cannot be opened.

        Args:
            source: what `open_recording` takes.
            sample_rate: of an array, Hz. Default: the model's.
        """
        rate = self.model.sample_rate
        try:
            recording = open_recording(source, rate, sample_rate, self.channel_selector, self.trim_silence)
            parts = self.chunking.parts(recording.samples, rate)
            if len(parts) > 1 and self.trim_silence:  # the pieces are those of the trimmed recording
                recording = hold_samples(recording.whole())
                parts = self.chunking.parts(recording.samples, rate)
        except UserError as error:
            return RecordingJob(None, [], error)
        return RecordingJob(recording, parts)

    def recognize_pieces(
        self,
        pieces: Sequence[tuple[Piece, np.ndarray]],
        hot_words: GivenHotWords | None = None,
        decoder: HypothesisDecoder | None = None,
        multiple: int = 1,
    ) -> None:
        """Recognizes pieces as one batch; a job whose last piece is among them gets its `result`.

        Args:
            pieces: each with its audio [S] float32, as `Piece.read` gave it; may be of several jobs.
            hot_words: as `transcribe`.
            decoder: in place of that of `decoding`.
            multiple: the batch is padded to a multiple of this, samples.

        Raises:
            UserError: hot words that the decoder cannot use, or the model fails.
        """
        outputs = self.compute_outputs(pieces, hot_words, decoder, multiple)
        self.finish_pieces([piece for piece, _ in pieces], outputs)

    def compute_outputs(
        self,
        pieces: Sequence[tuple[Piece, np.ndarray]],
        hot_words: GivenHotWords | None = None,
        decoder: HypothesisDecoder | None = None,
        multiple: int = 1,
        words: bool | None = None,
    ) -> Mapping[str, np.ndarray]:
        """The first half of `recognize_pieces`: the model's outputs, for `finish_pieces`.

        `words` says whether words are among them, where it is not as the Transcriber's; pieces of a longer recording
        have them always.
        """
        words = self.words if words is None else words
        words = words or any(len(piece.job.parts) > 1 for piece, _ in pieces)
        audio, audio_len = pad_audio([audio for _, audio in pieces], multiple)
        return self.model.recognize_batch(audio, audio_len, words, decoder or self.decoder, hot_words)

    def finish_pieces(self, pieces: Sequence[Piece], outputs: Mapping[str, np.ndarray]) -> None:
        """The second half of `recognize_pieces`, which may be called in another thread."""
        for piece, found in zip(pieces, read_outputs(outputs), strict=True):
            piece.job.found[piece.k] = found
        for job in {id(piece.job): piece.job for piece in pieces}.values():
            job.finish(self.model.sample_rate, self.words, self.segmentation)

    def _batches(self, jobs: _Jobs) -> Iterator[list[Piece]]:
        most = self.batch_s * self.model.sample_rate
        while window := jobs.open_window(most):
            pieces = [Piece(job, k) for job in window for k in range(len(job.parts))]
            # The longest first: a shortage of memory shows at once.
            pieces.sort(key=lambda piece: -piece.samples)
            batch: list[Piece] = []
            for piece in pieces:
                if batch and (len(batch) == self.batch_size or (len(batch) + 1) * batch[0].samples > most):
                    yield batch
                    batch = []
                batch.append(piece)
            if batch:
                yield batch

    def _read(self, pool: ThreadPoolExecutor, batch: list[Piece] | None) -> _Decoding | None:
        return None if batch is None else [(piece, pool.submit(piece.read)) for piece in batch]

    def _recognize(self, batch: _Decoding, hot_words: GivenHotWords | None) -> None:
        decoded = [(piece, audio) for piece, future in batch if (audio := future.result()) is not None]
        if decoded:
            self.recognize_pieces(decoded, hot_words)


_Decoding = list[tuple[Piece, "Future[np.ndarray | None]"]]


class _Jobs:
    """The open jobs, in the order of the recordings."""

    def __init__(self, source: Iterator[RecordingJob]):
        self._source = source
        self._open: deque[RecordingJob] = deque()
        self.count = self.opened = 0
        self.done = 0.0

    def open_window(self, held: float) -> list[RecordingJob]:
        """The next `_LOOK_AHEAD` jobs, or fewer when they hold `held` samples in memory."""
        window: list[RecordingJob] = []
        for job in self._source:
            window.append(job)
            self._open.append(job)
            self.count += 1
            if job.recording is not None:
                self.opened += job.recording.samples
                held -= job.recording.samples * job.recording.is_held
            if len(window) == _LOOK_AHEAD or held <= 0:
                break
        return window

    def finished(self) -> Iterator[Transcript | UserError]:
        """Yields the finished results at the front of the queue."""
        while self._open and (result := self._open[0].result) is not None:
            self._open.popleft()
            yield result
