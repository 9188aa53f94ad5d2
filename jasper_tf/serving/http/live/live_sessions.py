"""Live streams of the server, which outlive their connection for a while."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
from collections import deque
from collections.abc import Iterator
from typing import Any

from jasper_tf.inference.streaming.live_transcription import LiveTranscription
from jasper_tf.serving.http.api_error import ApiError

_KEPT_FINALS = 1000
"""Final messages that a client did not acknowledge; the oldest are forgotten, so that the memory is bounded."""


class LiveSession:
    """One live stream: its transcription, and what its client has not seen for sure.

    Attributes:
        session_id: its name, which nobody can guess.
        live: the transcription; None when the stream has ended.
        received_samples: of the client that were heard: it goes on behind them.
        done: the message of the end, once it is known.
        lock: held while a message is worked on.
        connection: who is connected; None: nobody.
    """

    def __init__(self, live: LiveTranscription):
        self.session_id = secrets.token_urlsafe(18)
        self.live: LiveTranscription | None = live
        self.delay_s, self.sample_rate = live.delay_s, live.sample_rate
        self.received_samples = 0
        self.done: dict[str, Any] | None = None
        self.lock = asyncio.Lock()
        self.connection: Any = None
        self.idle_since = time.monotonic()
        self._seq = 0
        self._finals: deque[dict[str, Any]] = deque(maxlen=_KEPT_FINALS)

    def keep(self, message: dict[str, Any]) -> dict[str, Any]:
        """Numbers a final message, and keeps it until the client has it."""
        self._seq += 1
        message = {"seq": self._seq, **message}
        self._finals.append(message)
        return message

    def acknowledge(self, seq: int) -> None:
        """Forgets the final messages up to this number."""
        while self._finals and self._finals[0]["seq"] <= seq:
            self._finals.popleft()

    def unseen(self, last_seq: int) -> list[dict[str, Any]]:
        """The final messages behind this number."""
        return [message for message in self._finals if message["seq"] > last_seq]


class LiveSessions:
    """The sessions of a server: a bounded number of them, each kept for a while when its client is away.

    Args:
        most: how many there are at a time; a new one takes the place of the one whose client is away for longest.
        keep_s: how long a session waits for its client, seconds.
    """

    def __init__(self, most: int, keep_s: float):
        self.most, self.keep_s = most, keep_s
        self._sessions: dict[str, LiveSession] = {}
        self._starting = 0

    def __len__(self) -> int:
        self._forget_idle()
        return len(self._sessions)

    def require_room(self) -> None:
        """Raises ApiError unless another session can be added: all are connected or being started."""
        self._forget_idle()
        if len(self._sessions) - len(self._idle()) + self._starting >= self.most:
            message = f"{self.most} live streams are open, no more at a time; try again later"
            raise ApiError(503, message, "too_many_streams")

    @contextlib.contextmanager
    def starting(self) -> Iterator[None]:
        """Keeps a place for a session that is being made.

        Raises:
            ApiError: as `require_room`.
        """
        self.require_room()
        self._starting += 1
        try:
            yield
        finally:
            self._starting -= 1

    def add(self, session: LiveSession) -> None:
        """Adds a session, in the place of the longest idle one if there are as many as there may be.

        Raises:
            ApiError: as `require_room`.
        """
        self.require_room()
        if len(self._sessions) >= self.most:
            self.drop(min(self._idle(), key=lambda one: one.idle_since))
        self._sessions[session.session_id] = session

    def get(self, session_id: str) -> LiveSession:
        """The session of this name.

        Raises:
            ApiError: there is none, or none any more.
        """
        self._forget_idle()
        if (found := self._sessions.get(session_id)) is None:
            message = f"session_id: no such session, or it waited more than {self.keep_s:g} s; start a new one"
            raise ApiError(404, message, "session_not_found", "session_id")
        return found

    def leave(self, session: LiveSession, connection: Any) -> None:
        """Marks a session as idle, if it is this connection's."""
        if session.connection is connection:
            session.connection = None
            session.idle_since = time.monotonic()

    def drop(self, session: LiveSession) -> None:
        self._sessions.pop(session.session_id, None)

    def _idle(self) -> list[LiveSession]:
        return [session for session in self._sessions.values() if session.connection is None]

    def _forget_idle(self) -> None:
        now = time.monotonic()
        for session in list(self._sessions.values()):
            if session.connection is None and now - session.idle_since > self.keep_s:
                self.drop(session)
