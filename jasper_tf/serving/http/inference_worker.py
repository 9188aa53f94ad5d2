"""Inference in one thread: recordings in dynamic batches, and calls of others between them."""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import numpy as np

from jasper_tf.errors import AudioError, UserError
from jasper_tf.inference.recording_job import Piece
from jasper_tf.inference.transcript import Transcript
from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.channel_limit import validate_channels
from jasper_tf.serving.http.decoder_cache import DecoderCache
from jasper_tf.serving.http.recognition import ReadyPiece, Recognition, RecognitionOptions, choose_batch
from jasper_tf.serving.http.server_metrics import ServerMetrics
from jasper_tf.serving.http.server_settings import ServerSettings

if TYPE_CHECKING:  # TensorFlow is loaded while the server listens already
    from jasper_tf.config.sections.decoding_schema import DecodingConfig
    from jasper_tf.inference.transcriber import Transcriber

P = ParamSpec("P")
R = TypeVar("R")

_Call = tuple["Future[Any]", Callable[[], Any]]

_READERS = 4
_AHEAD = 4
"""Pieces of one recording that are read, and not recognized yet: between them others have their turn."""
_MULTIPLE_S = 0.5
"""Batches are padded to a multiple of this: oneDNN keeps what it prepared for each shape, 100 MB for a thousand."""
_HELD_BATCHES = 3
"""Batches whose audio is in memory."""

logger = logging.getLogger(__name__)


class InferenceWorker:
    """Runs the model in one thread, which everybody else waits for without blocking.

    The model is loaded and warmed up in that thread. Recordings are opened and decoded to samples by other threads,
    some pieces ahead; one more makes transcripts while the next batch runs. A batch that fails (out of memory) is tried
    again one by one, so that a recording fails alone.

    Args:
        load: returns the transcriber and the section `decoding` that it uses; called in the thread.
        settings: of the server.
        metrics: what the worker counts.
        on_ready: called in the thread when the model is warm.
        on_failure: called in the thread when it ends by an error, of `load` or otherwise; `failure` says which.

    Attributes:
        transcriber: None until the model is ready.
        decoders: for the options of requests; None until the model is ready.
        failure: why the model could not be loaded, or why the thread ended.
    """

    def __init__(
        self,
        load: Callable[[], tuple[Transcriber, DecodingConfig]],
        settings: ServerSettings,
        metrics: ServerMetrics,
        on_ready: Callable[[], None] = lambda: None,
        on_failure: Callable[[], None] = lambda: None,
    ):
        self.transcriber: Transcriber | None = None
        self.decoders: DecoderCache | None = None
        self.failure: BaseException | None = None
        self._load, self._settings, self._metrics = load, settings, metrics
        self._on_failure, self._on_ready = on_failure, on_ready
        self._changed = threading.Condition()
        self._accepted: set[Recognition] = set()
        self._to_read: deque[Recognition] = deque()
        self._ready: list[ReadyPiece] = []
        self._calls: deque[_Call] = deque()
        self._held = 0
        self._stopping = False
        self._readers = ThreadPoolExecutor(_READERS, "reader")
        self._answers = ThreadPoolExecutor(1, "answers")
        # It ends with the process: nothing waits for a model that is being loaded when the server is stopped.
        self._thread = threading.Thread(target=self._run, name="inference", daemon=True)
        metrics.watch("jasper_queue_length", "Accepted recordings that are not answered", lambda: len(self._accepted))
        metrics.watch("jasper_audio_held_seconds", "Audio in memory, seconds", self._held_s)
        metrics.watch("jasper_ready", "Whether the model is loaded and warm", lambda: self.is_ready)

    def start(self) -> None:
        """Begins to load the model."""
        self._thread.start()

    @property
    def is_ready(self) -> bool:
        """Whether the model is loaded and warm, and the server is not being stopped."""
        return self.transcriber is not None and not self._stopping

    def _held_s(self) -> float:
        return self._held / self.transcriber.model.sample_rate if self.transcriber is not None else 0.0

    def require_ready(self) -> None:
        """Raises ApiError (503) unless the worker is ready."""
        if not self.is_ready:
            self._metrics.rejected.labels("not_ready").inc()
            message = "The server is being stopped." if self._stopping else "The model is being loaded; try again soon."
            raise ApiError(503, message, "not_ready", headers={"Retry-After": "2"})

    def require_room(self) -> None:
        """Raises ApiError unless the worker is ready (503) and its queue is not full (429)."""
        self.require_ready()
        if len(self._accepted) >= self._settings.queue:
            self._metrics.rejected.labels("queue_full").inc()
            message = f"The queue is full ({self._settings.queue} recordings); try again later."
            raise ApiError(429, message, "queue_full", headers={"Retry-After": "1"})

    def submit(
        self, path: str, options: RecognitionOptions, on_progress: Callable[[], object] | None = None
    ) -> Recognition:
        """Accepts a recording; the result is in the `future` of what it returns.

        Raises:
            ApiError: not ready (503), or the queue is full (429).
        """
        recognition = Recognition(path, options, on_progress)
        with self._changed:
            self.require_room()
            self._accepted.add(recognition)
        recognition.future.add_done_callback(lambda _: self._release(recognition))
        self._readers.submit(self._open, recognition)
        return recognition

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a function in the inference thread, before the next batch; for steps of live audio.

        Raises:
            ApiError: not ready (503). Whatever the function raises.
        """
        future: Future[R] = Future()
        with self._changed:
            self.require_ready()
            self._calls.append((future, partial(function, *args, **kwargs)))
            self._changed.notify()
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """Finishes what was accepted and ends the thread; does not wait for a model that is being loaded."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self.transcriber is not None:
            self._thread.join()
        self._readers.shutdown(wait=False, cancel_futures=True)
        self._answers.shutdown(wait=False)

    # ------------------------------------------------------------------ the readers' threads

    def _open(self, recognition: Recognition) -> None:
        transcriber = self.transcriber
        assert transcriber is not None
        if recognition.future.done():
            return
        try:
            validate_channels(recognition.path)
            job = transcriber.open_job(recognition.path)
            if isinstance(job.result, UserError):
                raise job.result
            self._validate_length(job.parts[-1][1] / transcriber.model.sample_rate)
        except Exception as error:
            self._finish(recognition, error)
            return
        with self._changed:
            recognition.job = job
            self._to_read.append(recognition)
            pieces = self._take_pieces()
        for other in pieces[1:]:
            self._readers.submit(self._read, *other)
        if pieces:  # in this thread: another one would have to wake up
            self._read(*pieces[0])

    def _validate_length(self, seconds: float) -> None:
        most_s = self._settings.max_audio_s
        if seconds > most_s:
            message = f"The recording has {seconds:.0f} s, this server takes {most_s:g} s (--max-audio-s); cut it."
            raise ApiError(413, message, "audio_too_long", "file")

    def _start_reading(self) -> None:
        for piece in self._take_pieces():
            self._readers.submit(self._read, *piece)

    def _take_pieces(self) -> list[tuple[Recognition, Piece, int]]:
        """The next pieces of all recordings in turn, as long as there is room for them; needs the lock."""
        pieces = []
        assert self.transcriber is not None
        room = _HELD_BATCHES * self._settings.batch_s * self.transcriber.model.sample_rate
        while self._to_read and self._held < room:
            recognition = self._to_read.popleft()
            if recognition.future.done() or recognition.job is None:
                continue
            piece = Piece(recognition.job, recognition.next_part)
            recognition.next_part += 1
            recognition.unfinished_parts += 1
            self._held += piece.samples
            pieces.append((recognition, piece, piece.samples))
            if recognition.has_more and recognition.unfinished_parts < _AHEAD:
                self._to_read.append(recognition)
        return pieces

    def _read(self, recognition: Recognition, piece: Piece, samples: int) -> None:
        audio: np.ndarray | None = None
        try:
            if not recognition.future.done():
                audio = piece.read()
                if audio is None and isinstance(piece.job.result, UserError):
                    raise piece.job.result
        except Exception as error:
            self._finish(recognition, error)
        with self._changed:
            if audio is None:
                self._held -= samples
                self._start_reading()
                return
            self._held += len(audio) - samples
            self._ready.append(ReadyPiece(recognition, piece, audio, time.monotonic()))
            self._changed.notify()

    # ------------------------------------------------------------------ the inference thread

    def _run(self) -> None:
        try:
            transcriber, config = self._load()
            _warm_up(transcriber)
            self.decoders = DecoderCache(transcriber, config, self._settings.max_beam_size)
            self.transcriber = transcriber
            self._on_ready()
            while (work := self._next_work()) is not None:
                calls, batch = work
                for future, function in calls:
                    _call(future, function)
                if batch:
                    self._recognize(batch)
        except BaseException as error:
            with self._changed:  # nothing is accepted from here on
                self.failure, self._stopping = error, True
                for recognition in list(self._accepted):
                    self._finish(recognition, error)
                for future, _ in self._calls:
                    future.cancel()
            self._on_failure()

    def _next_work(self) -> tuple[list[_Call], list[ReadyPiece]] | None:
        """Waits for calls, or for a batch that is full or has waited long enough; None when all is done."""
        assert self.transcriber is not None
        rate, settings = self.transcriber.model.sample_rate, self._settings
        with self._changed:
            while True:
                self._drop_canceled()
                calls = [self._calls.popleft() for _ in range(len(self._calls))]
                batch: list[ReadyPiece] = []
                wait_s = None
                if self._ready:
                    batch, is_full = choose_batch(self._ready, settings.batch_size, settings.batch_s * rate, rate)
                    wait_s = batch[0].ready_at + settings.batch_wait_ms / 1000 - time.monotonic()
                    if not (is_full or wait_s <= 0 or self._stopping):
                        batch = []
                if calls or batch:
                    chosen = set(map(id, batch))
                    self._ready = [one for one in self._ready if id(one) not in chosen]
                    return calls, batch
                if self._stopping and not self._accepted:
                    return None
                self._changed.wait(wait_s)

    def _drop_canceled(self) -> None:
        kept = [one for one in self._ready if not one.recognition.future.done()]
        if len(kept) < len(self._ready):
            self._held -= sum(len(one.audio) for one in self._ready) - sum(len(one.audio) for one in kept)
            self._ready = kept
            self._start_reading()

    def _recognize(self, batch: list[ReadyPiece]) -> None:
        assert self.transcriber is not None
        options = batch[0].recognition.options
        begin = time.monotonic()
        try:
            pieces = [(one.piece, one.audio) for one in batch]
            multiple = round(_MULTIPLE_S * self.transcriber.model.sample_rate)
            outputs = self.transcriber.compute_outputs(pieces, options.hot_words, options.decoder, multiple)
        except Exception as error:
            if len(batch) == 1:
                self._finish(batch[0].recognition, error)
                self._let_go(batch)
                return
            logger.warning("a batch of %d failed (%s); each is tried alone", len(batch), type(error).__name__)
            for one in batch:
                self._recognize([one])
            return
        self._metrics.batch_size.observe(len(batch))
        self._metrics.batch_latency.observe(time.monotonic() - begin)
        self._let_go(batch)
        self._answers.submit(self._answer, batch, outputs)  # meanwhile the next batch begins

    def _let_go(self, batch: list[ReadyPiece]) -> None:
        with self._changed:
            for one in batch:
                recognition = one.recognition
                self._held -= len(one.audio)
                recognition.unfinished_parts -= 1
                if recognition.has_more and recognition.unfinished_parts == _AHEAD - 1:
                    self._to_read.append(recognition)
            self._start_reading()

    # ------------------------------------------------------------------ the thread of the answers

    def _answer(self, batch: list[ReadyPiece], outputs: Mapping[str, np.ndarray]) -> None:
        assert self.transcriber is not None
        try:
            self.transcriber.finish_pieces([one.piece for one in batch], outputs)
        except Exception as error:  # the outputs of a SavedModel that is not ours
            for one in batch:
                self._finish(one.recognition, error)
        for recognition in {id(one.recognition): one.recognition for one in batch}.values():
            result = recognition.job.result if recognition.job is not None else None
            if result is not None:
                self._finish(recognition, result)
            elif recognition.on_progress is not None and not recognition.future.done():
                recognition.on_progress()

    def _finish(self, recognition: Recognition, result: Transcript | BaseException) -> None:
        with self._changed:  # a reader and the inference thread may both come to an end
            if recognition.future.done() or not recognition.future.set_running_or_notify_cancel():
                return
            if isinstance(result, Transcript):
                self._metrics.audio_s.inc(result.duration_s or 0.0)
                recognition.future.set_result(result)
                return
            if not isinstance(result, ApiError | AudioError):  # its sentence may name files of the server
                logger.error("a recording failed", exc_info=result)
                kind = type(result).__name__
                message = f"The recording could not be transcribed ({kind}); the log of the server says why."
                result = ApiError(500, message, "model_failed")
            recognition.future.set_exception(result)

    def _release(self, recognition: Recognition) -> None:
        with self._changed:
            self._accepted.discard(recognition)
            if recognition.future.cancelled():
                self._metrics.canceled.inc()
            self._changed.notify()


def _call(future: Future[Any], function: Callable[[], Any]) -> None:
    if future.set_running_or_notify_cancel():
        try:
            future.set_result(function())
        except BaseException as error:
            future.set_exception(error)


def _warm_up(transcriber: Transcriber) -> None:
    """Recognizes silence alone, as two and live: the graphs are traced, and memory is there."""
    second = np.zeros(transcriber.model.sample_rate, np.float32)
    for count in (1, 2):
        transcriber.transcribe([second] * count)
    transcriber.stream().warm_up()
