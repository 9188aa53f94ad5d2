"""Inference in threads of its own: recordings in dynamic batches, and calls of others between them."""

from __future__ import annotations

import asyncio
import gc
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import Any, ParamSpec, TypeVar

import numpy as np

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.errors import AudioError
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.inference.transcript import Transcript
from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.decoder_cache import DecoderCache
from jasper_tf.serving.http.piece_reader import PieceReader
from jasper_tf.serving.http.recognition import ReadyPiece, Recognition, RecognitionOptions, choose_batch
from jasper_tf.serving.http.server_metrics import ServerMetrics
from jasper_tf.serving.http.server_settings import ServerSettings

P = ParamSpec("P")
R = TypeVar("R")

_Call = tuple["Future[Any]", Callable[[], Any]]

_MULTIPLE_S = 0.25
"""Batches are padded to a multiple of this: oneDNN keeps what it prepared for each shape, 100 MB for a thousand."""

logger = logging.getLogger(__name__)


class InferenceWorker:
    """Runs the model in its own threads, which everybody else waits for without blocking.

    The model is loaded and warmed up in the first of them, which also runs the calls of others; `parallel_batches` of
    the settings is their number. A `PieceReader` opens and decodes the recordings, and one more thread makes
    transcripts while the next batch runs. A batch that fails (out of memory) is tried again one by one, so that a
    recording fails alone.

    Args:
        load: returns the transcriber and the section `decoding` that it uses; called in the first thread.
        settings: of the server.
        metrics: what the worker counts.
        on_ready: called in that thread when the model is warm.
        on_failure: called in a thread that ends by an error, of `load` or otherwise; `failure` says which.

    Attributes:
        transcriber: None until the model is ready.
        decoders: for the options of requests; None until the model is ready.
        failure: why the model could not be loaded, or why a thread ended.
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
        self._calls: deque[_Call] = deque()
        self._stopping = False
        self._reader = PieceReader(settings, self._changed, self._finish)
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
        return self._reader.held / self.transcriber.model.sample_rate if self.transcriber is not None else 0.0

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
            self._reader.submit(recognition)
        return recognition

    async def run(self, function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Calls a function in the first inference thread, before its next batch; for steps of live audio.

        Raises:
            ApiError: not ready (503). Whatever the function raises.
        """
        future: Future[R] = Future()
        with self._changed:
            self.require_ready()
            self._calls.append((future, partial(function, *args, **kwargs)))
            self._changed.notify_all()  # one thread alone takes calls
        return await asyncio.wrap_future(future)

    def stop(self) -> None:
        """Finishes what was accepted and ends the threads; does not wait for a model that is being loaded."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        if self.transcriber is not None:
            self._thread.join()
        self._reader.stop()
        self._answers.shutdown(wait=False)

    # ------------------------------------------------------------------ the inference threads

    def _run(self) -> None:
        others = [
            threading.Thread(target=self._run_batches, args=(False,), name=f"inference {k}", daemon=True)
            for k in range(2, self._settings.parallel_batches + 1)
        ]
        try:
            transcriber, config = self._load()
            _warm_up(transcriber)
            self.decoders = DecoderCache(transcriber, config, self._settings.max_beam_size)
            gc.collect()
            gc.freeze()  # else every collection goes through the objects of TensorFlow and of the model again
            self._reader.start(transcriber)
            self.transcriber = transcriber
            self._on_ready()
        except BaseException as error:
            self._fail(error)
            return
        for thread in others:
            thread.start()
        self._run_batches(True)
        for thread in others:
            thread.join()

    def _run_batches(self, takes_calls: bool) -> None:
        try:
            while (work := self._next_work(takes_calls)) is not None:
                calls, batch = work
                for future, function in calls:
                    _call(future, function)
                if batch:
                    self._recognize(batch)
        except BaseException as error:
            self._fail(error)

    def _fail(self, error: BaseException) -> None:
        with self._changed:  # nothing is accepted from here on
            self.failure, self._stopping = error, True
            for recognition in list(self._accepted):
                self._finish(recognition, error)
            for future, _ in self._calls:
                future.cancel()
            self._changed.notify_all()
        self._on_failure()

    def _next_work(self, takes_calls: bool) -> tuple[list[_Call], list[ReadyPiece]] | None:
        """Waits for calls, or for a batch that is full or for which nothing more comes soon; None when all is done."""
        assert self.transcriber is not None
        rate, settings, reader = self.transcriber.model.sample_rate, self._settings, self._reader
        with self._changed:
            while True:
                reader.drop_canceled()
                calls = [self._calls.popleft() for _ in range(len(self._calls) * takes_calls)]
                batch: list[ReadyPiece] = []
                wait_s = None
                if reader.ready:
                    batch, is_full = choose_batch(reader.ready, settings.batch_size, settings.batch_s * rate, rate)
                    wait_s = batch[0].ready_at + settings.batch_wait_ms / 1000 - time.monotonic()
                    if not (is_full or reader.is_idle or wait_s <= 0 or self._stopping):
                        batch = []
                if calls or batch:
                    reader.take(batch)
                    if reader.ready:
                        self._changed.notify()  # another thread may take the others
                    return calls, batch
                if self._stopping and not self._accepted:
                    return None
                self._changed.wait(wait_s)

    def _recognize(self, batch: list[ReadyPiece]) -> None:
        assert self.transcriber is not None
        options = batch[0].recognition.options
        begin = time.monotonic()
        try:
            pieces = [(one.piece, one.audio) for one in batch]
            multiple = round(_MULTIPLE_S * self.transcriber.model.sample_rate)
            words = any(one.recognition.options.words for one in batch)
            outputs = self.transcriber.compute_outputs(pieces, options.hot_words, options.decoder, multiple, words)
        except Exception as error:
            if len(batch) == 1:
                self._finish(batch[0].recognition, error)
                with self._changed:
                    self._reader.let_go(batch)
                return
            logger.warning("a batch of %d failed (%s); each is tried alone", len(batch), type(error).__name__)
            for one in batch:
                self._recognize([one])
            return
        self._metrics.batch_size.observe(len(batch))
        self._metrics.batch_latency.observe(time.monotonic() - begin)
        with self._changed:
            self._reader.let_go(batch)
        self._answers.submit(self._answer, batch, outputs)  # meanwhile the next batch begins

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
            if self._stopping:
                self._changed.notify_all()


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
    transcriber.model.recognize_batch(second[None], np.array([len(second)], np.int32), False, transcriber.decoder, None)
    transcriber.stream().warm_up()
