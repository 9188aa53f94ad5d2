"""The WebSocket `/v1/stream`: PCM in, words out while they are said."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from typing import Any

import numpy as np
from fastapi import APIRouter, WebSocket, WebSocketDisconnect
from fastapi.concurrency import run_in_threadpool

from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder
from jasper_tf.errors import UserError, printable, shorten
from jasper_tf.inference.streaming.live_transcription import LiveTranscription
from jasper_tf.inference.streaming.live_update import LiveUpdate
from jasper_tf.serving.http.api_error import ApiError, internal_error
from jasper_tf.serving.http.inference_worker import InferenceWorker
from jasper_tf.serving.http.live.live_sessions import LiveSession, LiveSessions
from jasper_tf.serving.http.live.live_settings import LiveSettings
from jasper_tf.serving.http.live.socket_access import SUBPROTOCOL, validate_access
from jasper_tf.serving.http.server_metrics import ServerMetrics
from jasper_tf.serving.http.server_settings import ServerSettings

_STEP_S = 0.8
"""Audio that is recognized in one call of the worker: between two calls others have their turn."""

_START_WITHIN_S = 30.0
_FAREWELL_S = 1.0
_LONGEST_TEXT = 100_000
"""Characters; the settings with many hot words are less."""

_CLOSE_CODES = {400: 1008, 401: 1008, 403: 1008, 404: 1008, 429: 1013, 503: 1013}
"""Of RFC 6455: 1008 what was asked for is refused, 1013 try again later."""

logger = logging.getLogger(__name__)


class _InvalidMessageError(ApiError):
    """A message that is none of the protocol; `close_code` says so to the client."""

    def __init__(self, message: str, close_code: int = 1007):
        super().__init__(400, message, "invalid_message")
        self.close_code = close_code


def create_live_router(settings: ServerSettings, metrics: ServerMetrics) -> APIRouter:
    """The route `/v1/stream`; it uses `app.state.worker`.

    Client: the settings (`LiveSettings`) as the query of the address or as the first message, `{"type": "start", ...}`;
    then binary messages of PCM, 16 bits, little-endian, mono, divided anywhere; `{"type": "ack", "seq": n}` for final
    messages that it has; `{"type": "end"}`.
    Server: `session` (session_id, delay_s, received_samples, keep_s); `partial` and `final` (`LiveUpdate.as_json`; seq
    numbers the final ones); `done` (duration_s), and the connection is closed with 1000. `error` holds what an HTTP
    answer would, and the connection is closed with another code.

    A client whose connection broke connects again with session_id and last_seq: it gets the final messages behind that
    number, and sends its audio from received_samples on.
    """
    router = APIRouter()
    sessions = LiveSessions(settings.max_live_streams, settings.live_keep_s)
    metrics.watch("jasper_live_streams", "Live streams, connected or waiting for their client", lambda: len(sessions))

    @router.websocket("/v1/stream")
    async def stream(socket: WebSocket) -> None:
        offered = socket.scope.get("subprotocols", [])
        await socket.accept(SUBPROTOCOL if SUBPROTOCOL in offered else None)
        connection = _Connection(socket, sessions, metrics)
        with contextlib.suppress(WebSocketDisconnect):
            try:
                validate_access(socket, settings)
                await connection.run()
            except ApiError as error:
                await connection.refuse(error)
            except WebSocketDisconnect:
                raise
            except Exception:
                logger.exception("the live stream %s failed", connection.name)
                await connection.give_up()
            finally:
                connection.leave()

    @router.websocket("/{path:path}")
    async def elsewhere(socket: WebSocket) -> None:
        message = f"Not Found: {shorten(printable(socket.url.path), 80)}; the WebSocket of this server is /v1/stream"
        await socket.send_denial_response(ApiError(404, message, "unknown_url").response())

    return router


class _Connection:
    """One client, from its first message to its last."""

    def __init__(self, socket: WebSocket, sessions: LiveSessions, metrics: ServerMetrics):
        self._socket, self._sessions, self._metrics = socket, sessions, metrics
        self._worker: InferenceWorker = socket.app.state.worker
        self._session: LiveSession | None = None
        self._half = b""

    @property
    def name(self) -> str:
        return self._session.session_id[:8] if self._session else "without a session"

    async def run(self) -> None:
        settings = await self._read_settings()
        session = await self._attach(settings)
        async with session.lock:
            await self._greet(session, settings.last_seq)
        while session.done is None:
            message = await self._receive()
            async with session.lock:
                if isinstance(message, bytes):
                    await self._hear(session, message)
                else:
                    await self._obey(session, message)
        await self._socket.send_json(session.done)
        self._sessions.drop(session)
        await self._socket.close(1000)

    async def refuse(self, error: ApiError) -> None:
        """Says what is wrong and closes the connection."""
        if error.status in (401, 403):
            self._metrics.rejected.labels("unauthorized").inc()
        code = getattr(error, "close_code", None) or _CLOSE_CODES.get(error.status, 1011)
        with contextlib.suppress(RuntimeError):  # it is closed already
            await self._socket.send_json({"type": "error", **error.body()})
            await self._socket.close(code)

    async def give_up(self) -> None:
        """Ends the stream after a fault: what its transcription knows is not to be trusted."""
        if self._session is not None and self._session.connection is self:
            self._sessions.drop(self._session)
        await self.refuse(internal_error(self.name))

    def leave(self) -> None:
        if self._session is not None:
            self._sessions.leave(self._session, self)

    async def _read_settings(self) -> LiveSettings:
        query = {name: value for name, value in self._socket.query_params.items() if name != "api_key"}
        if query:
            return LiveSettings.read_query(query)
        try:
            message = await asyncio.wait_for(self._receive(), _START_WITHIN_S)
        except TimeoutError:
            raise ApiError(400, f'no message "start" within {_START_WITHIN_S:g} s', "no_start") from None
        if isinstance(message, bytes):
            raise _InvalidMessageError('audio before the message {"type": "start", "sample_rate": ...}', 1003)
        if message.pop("type", None) != "start":
            raise _InvalidMessageError('the first message must be {"type": "start", "sample_rate": ...}')
        return LiveSettings.read(message)

    async def _attach(self, settings: LiveSettings) -> LiveSession:
        if settings.session_id is None:
            return await self._start(settings)
        session = self._session = self._sessions.get(settings.session_id)
        other, session.connection = session.connection, self
        if other is not None:  # a broken connection that the server did not notice
            error = ApiError(400, "the stream goes on in another connection", "taken_over", "session_id")
            with contextlib.suppress(TimeoutError, WebSocketDisconnect):
                await asyncio.wait_for(other.refuse(error), _FAREWELL_S)
        return session

    async def _start(self, settings: LiveSettings) -> LiveSession:
        with self._sessions.starting():
            self._worker.require_ready()
            decoder = await run_in_threadpool(self._decoder, settings)
            try:
                live = await self._worker.run(self._start_live, decoder, settings)
            except ApiError:
                raise
            except UserError as error:
                raise ApiError(400, str(error), "invalid_value") from None
        session = LiveSession(live)
        session.connection = self
        self._sessions.add(session)  # clients that were away may have come back in the meantime
        self._session = session
        return session

    def _require_own(self, session: LiveSession) -> None:
        """Ends this connection if another one has taken the stream over."""
        if session.connection is not self:
            raise WebSocketDisconnect(1008)

    async def _greet(self, session: LiveSession, last_seq: int) -> None:
        self._require_own(session)
        session.acknowledge(last_seq)
        await self._socket.send_json(
            {
                "type": "session",
                "session_id": session.session_id,
                "sample_rate": session.sample_rate,
                "delay_s": round(session.delay_s, 3),
                "received_samples": session.received_samples,
                "keep_s": self._sessions.keep_s,
            }
        )
        for message in session.unseen(last_seq):
            await self._socket.send_json(message)

    async def _receive(self) -> bytes | dict[str, Any]:
        message = await self._socket.receive()
        if message["type"] == "websocket.disconnect":
            raise WebSocketDisconnect(message.get("code", 1005))
        if message.get("bytes") is not None:
            return message["bytes"]
        try:
            text = message.get("text") or ""
            found = json.loads(text) if len(text) <= _LONGEST_TEXT else None
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict):
            raise _InvalidMessageError(
                'a text message that is no JSON object, or too long; send {"type": ...}, and audio as binary messages'
            )
        return found

    async def _hear(self, session: LiveSession, content: bytes) -> None:
        content = self._half + content
        whole = len(content) // 2 * 2
        self._half = content[whole:]
        samples = np.frombuffer(content[:whole], "<i2")
        step = round(_STEP_S * session.sample_rate)
        for at in range(0, len(samples), step):
            self._require_own(session)
            part = samples[at : at + step]
            assert session.live is not None
            updates = await self._worker.run(session.live.push, part)
            session.received_samples += len(part)
            self._metrics.audio_s.inc(len(part) / session.sample_rate)
            await self._send(session, updates)

    async def _obey(self, session: LiveSession, message: dict[str, Any]) -> None:
        self._require_own(session)
        kind = message.get("type")
        if kind == "ack" and type(message.get("seq")) is int:
            session.acknowledge(message["seq"])
        elif kind == "end":
            assert session.live is not None
            updates = await self._worker.run(session.live.finish)
            session.done = {"type": "done", "duration_s": round(session.received_samples / session.sample_rate, 4)}
            session.live = None
            await self._send(session, updates)
        else:
            raise _InvalidMessageError(
                'unknown message; after the start send audio, {"type": "ack", "seq": n} or {"type": "end"}'
            )

    async def _send(self, session: LiveSession, updates: list[LiveUpdate]) -> None:
        messages = [update.as_json() for update in updates]
        # All are kept before the first is sent: the connection may break meanwhile.
        messages = [session.keep(one) if one["type"] == "final" else one for one in messages]
        for message in messages:
            self._require_own(session)
            await self._socket.send_json(message)

    def _decoder(self, settings: LiveSettings) -> HypothesisDecoder:
        transcriber, decoders = self._worker.transcriber, self._worker.decoders
        assert transcriber is not None and decoders is not None
        decoder = decoders.get(settings.overrides, settings.needs_beam)
        if settings.hot_words:
            decoders.validate_hot_words(settings.hot_words, decoder)
        return decoder or transcriber.decoder or transcriber.model.decoding

    def _start_live(self, decoder: HypothesisDecoder, settings: LiveSettings) -> LiveTranscription:
        from jasper_tf.inference.streaming.start_stream import start_stream  # TensorFlow is there by now

        assert self._worker.transcriber is not None
        return start_stream(
            self._worker.transcriber.model,
            decoder,
            settings.left_s,
            settings.chunk_s,
            settings.right_s,
            settings.endpoint_s,
            settings.hot_words or None,
            settings.sample_rate,
        )
