"""Opens recordings and decodes their pieces, some pieces ahead of the model."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.inference.recording_job import Piece, RecordingJob
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.channel_limit import validate_channels
from jasper_tf.serving.http.recognition import ReadyPiece, Recognition
from jasper_tf.serving.http.server_settings import ServerSettings

_THREADS = 4
_AHEAD = 4
"""Pieces of one recording that are read, and not recognized yet: between them others have their turn."""
_HELD_BATCHES = 3
"""Batches whose audio is in memory."""


class PieceReader:
    """Opens recordings and decodes their pieces in its own threads, in turn and as long as there is room in memory.

    Args:
        settings: of the server.
        changed: the lock of all attributes; notified when a piece is ready and when the last task ends.
        on_failure: called with a recognition and the error that prevents it.

    Attributes:
        ready: the pieces that wait for the model, in the order in which they were decoded.
        held: samples in memory.
    """

    def __init__(
        self,
        settings: ServerSettings,
        changed: threading.Condition,
        on_failure: Callable[[Recognition, BaseException], None],
    ):
        self.ready: list[ReadyPiece] = []
        self.held = 0
        self._settings, self._changed, self._on_failure = settings, changed, on_failure
        self._transcriber: Transcriber | None = None
        self._waiting: deque[Recognition] = deque()
        self._tasks = 0
        self._threads = ThreadPoolExecutor(_THREADS, "reader")

    def start(self, transcriber: Transcriber) -> None:
        """Takes the transcriber whose recordings are read."""
        self._transcriber = transcriber

    def stop(self) -> None:
        """Begins nothing more."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    @property
    def is_idle(self) -> bool:
        """Whether no piece is on its way; needs the lock."""
        return not self._tasks

    def submit(self, recognition: Recognition) -> None:
        """Takes a recognition, whose pieces become `ready`; needs the lock."""
        self._tasks += 1
        self._threads.submit(self._open, recognition)

    def take(self, batch: Sequence[ReadyPiece]) -> None:
        """Takes pieces out of `ready`; their audio counts as held until `let_go`. Needs the lock."""
        taken = set(map(id, batch))
        self.ready = [one for one in self.ready if id(one) not in taken]

    def let_go(self, batch: Sequence[ReadyPiece]) -> None:
        """Releases the audio of recognized pieces, and reads on; needs the lock."""
        for one in batch:
            recognition = one.recognition
            self.held -= len(one.audio)
            recognition.unfinished_parts -= 1
            if recognition.has_more and recognition.unfinished_parts == _AHEAD - 1:
                self._waiting.append(recognition)
        self._submit_pieces()

    def drop_canceled(self) -> None:
        """Drops ready pieces that nobody waits for; needs the lock."""
        kept = [one for one in self.ready if not one.recognition.future.done()]
        if len(kept) < len(self.ready):
            self.held -= sum(len(one.audio) for one in self.ready) - sum(len(one.audio) for one in kept)
            self.ready = kept
            self._submit_pieces()

    def _open(self, recognition: Recognition) -> None:
        job = None
        try:
            if not recognition.future.done():
                job = self._open_job(recognition.path)
        except Exception as error:
            self._on_failure(recognition, error)
        with self._changed:
            self._tasks -= 1
            pieces = []
            if job is not None:
                recognition.job = job
                self._waiting.append(recognition)
                pieces = self._next_pieces()
            if not self._tasks:
                self._changed.notify()
        for other in pieces[1:]:
            self._threads.submit(self._read, *other)
        if pieces:  # in this thread: another one would have to wake up
            self._read(*pieces[0])

    def _open_job(self, path: str) -> RecordingJob:
        assert self._transcriber is not None
        job = self._transcriber.open_job(path)
        if isinstance(job.result, UserError):
            raise job.result
        validate_channels(job.recording.channels if job.recording is not None else 1)
        seconds = job.parts[-1][1] / self._transcriber.model.sample_rate
        most_s = self._settings.max_audio_s
        if seconds > most_s:
            message = f"The recording has {seconds:.0f} s, this server takes {most_s:g} s (--max-audio-s); cut it."
            raise ApiError(413, message, "audio_too_long", "file")
        return job

    def _submit_pieces(self) -> None:
        for piece in self._next_pieces():
            self._threads.submit(self._read, *piece)

    def _next_pieces(self) -> list[tuple[Recognition, Piece, int]]:
        """The next pieces of all recordings in turn, as long as there is room for them."""
        pieces: list[tuple[Recognition, Piece, int]] = []
        if self._transcriber is None:
            return pieces
        room = _HELD_BATCHES * self._settings.batch_s * self._transcriber.model.sample_rate
        while self._waiting and self.held < room:
            recognition = self._waiting.popleft()
            if recognition.future.done() or recognition.job is None:
                continue
            piece = Piece(recognition.job, recognition.next_part)
            recognition.next_part += 1
            recognition.unfinished_parts += 1
            self.held += piece.samples
            pieces.append((recognition, piece, piece.samples))
            if recognition.has_more and recognition.unfinished_parts < _AHEAD:
                self._waiting.append(recognition)
        self._tasks += len(pieces)
        return pieces

    def _read(self, recognition: Recognition, piece: Piece, samples: int) -> None:
        audio: np.ndarray | None = None
        try:
            if not recognition.future.done():
                audio = piece.read()
                if audio is None and isinstance(piece.job.result, UserError):
                    raise piece.job.result
        except Exception as error:
            self._on_failure(recognition, error)
        with self._changed:
            self._tasks -= 1
            if audio is None:
                self.held -= samples
                self._submit_pieces()
            else:
                self.held += len(audio) - samples
                self.ready.append(ReadyPiece(recognition, piece, audio, time.monotonic()))
            # The first begins the time that a batch waits; those between would wake the worker for nothing.
            if len(self.ready) == 1 or len(self.ready) >= self._settings.batch_size or not self._tasks:
                self._changed.notify()
