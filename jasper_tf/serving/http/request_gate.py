"""What every request passes: its id, the API key, the limits of its body, the access log and the metrics."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import logging
import random
import re
import time
from collections.abc import Callable
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from jasper_tf.errors import printable, shorten
from jasper_tf.serving.http.api_error import ApiError, internal_error
from jasper_tf.serving.http.server_metrics import ServerMetrics
from jasper_tf.serving.http.server_settings import ServerSettings

_IDLE_S = 30.0
"""A body of which nothing arrives for this time is given up."""
_LINGER_S = 3.0
"""After an answer that did not read the body: so long what still arrives is discarded, because closing at once would
take the answer from a client that is still sending."""
_LINGER_BYTES = 1 << 28
"""The most that is discarded then."""
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")

logger = logging.getLogger("jasper_tf.serving.http.access")


class RequestGate:
    """ASGI middleware around the routes; answers what it refuses in OpenAI's shape.

    The key guards `/v1/` and `/metrics`; for WebSockets see `validate_access`.

    Args:
        app: what is inside.
        settings: of the server.
        metrics: what the gate counts.
        stopping: returns the future that is done when the server is being stopped.
    """

    def __init__(
        self,
        app: ASGIApp,
        settings: ServerSettings,
        metrics: ServerMetrics,
        stopping: Callable[[], asyncio.Future[None]],
    ):
        self._app, self._settings, self._metrics, self._stopping = app, settings, metrics, stopping

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        else:  # a WebSocket looks at the key itself: its refusal is a message
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin = time.monotonic()
        given = Headers(scope=scope).get("x-request-id", "")
        request_id = given if _REQUEST_ID.fullmatch(given) else f"{random.getrandbits(128):032x}"
        scope.setdefault("state", {})["request_id"] = request_id
        body = _Body(receive, Headers(scope=scope), self._settings, self._stopping())
        answer = _Answer(send, body, request_id)
        try:
            try:
                self._admit(scope)
                await self._app(scope, body.receive, answer.send)
            except ApiError as error:
                await error.response()(scope, body.receive, answer.send)
        except ClientDisconnect:
            pass
        except Exception:
            logger.exception("request %s failed", request_id)
            if answer.status is None:
                await internal_error(request_id).response()(scope, body.receive, answer.send)
            else:
                raise
        finally:
            self._record(scope, request_id, answer.status, body.size, time.monotonic() - begin)

    def _admit(self, scope: Scope) -> None:
        if not self._is_authorized(scope):
            self._metrics.rejected.labels("unauthorized").inc()
            message = "Wrong or missing API key; give the key of this server (header Authorization: Bearer KEY)."
            raise ApiError(401, message, "invalid_api_key", headers={"WWW-Authenticate": "Bearer"})
        length = Headers(scope=scope).get("content-length", "0")
        if length.isdecimal() and int(length) > self._settings.max_upload_bytes:
            raise too_large(self._settings)

    def _is_authorized(self, scope: Scope) -> bool:
        key = self._settings.api_key
        path = scope["path"]
        if not key or not (path.startswith("/v1/") or path == "/metrics"):
            return True
        if scope["method"] == "OPTIONS":
            return True  # asks what is allowed, without the key
        return hmac.compare_digest(bearer_key(Headers(scope=scope)), key.encode())

    def _record(self, scope: Scope, request_id: str, status: int | None, size: int, seconds: float) -> None:
        route = getattr(scope.get("route"), "path", "other")
        known = scope["method"] in ("GET", "HEAD", "POST", "OPTIONS", "PUT", "PATCH", "DELETE")
        method = scope["method"] if known else "other"
        code = 499 if status is None else status  # nginx's number for a client that left
        self._metrics.requests.labels(route, method, str(code)).inc()
        self._metrics.latency.labels(route).observe(seconds)
        if code == 413:
            self._metrics.rejected.labels("too_large").inc()
        form = self._settings.access_log
        if form == "off":
            return
        client = (scope.get("client") or ("-",))[0]
        values: dict[str, Any] = {"client": client, "method": method, "path": shorten(printable(scope["path"]), 200)}
        values |= {"status": code, "seconds": round(seconds, 4), "bytes": size, "request_id": request_id}
        if form == "json":
            logger.info("%s", json.dumps({"time": round(time.time(), 3), **values}))
        else:
            logger.info("%s", " ".join([*map(str, list(values.values())[:4]), f"{seconds:.3f}s {size}B {request_id}"]))


def bearer_key(headers: Headers) -> bytes:
    """The key of `Authorization: Bearer KEY`; empty without such a header."""
    scheme, _, key = headers.get("authorization", "").partition(" ")
    return key.strip().encode() if scheme.lower() == "bearer" else b""


def too_large(settings: ServerSettings) -> ApiError:
    """The answer to a body above `max_upload_mb`."""
    message = f"The request is larger than {settings.max_upload_mb:g} MB (--max-upload-mb); send less, or compressed."
    return ApiError(413, message, "request_too_large")


class _Body:
    """The body of a request, within its limits of size and time."""

    def __init__(self, receive: Receive, headers: Headers, settings: ServerSettings, stopping: asyncio.Future[None]):
        self._receive, self._settings, self._stopping = receive, settings, stopping
        self._deadline = time.monotonic() + settings.body_timeout_s
        self.size = 0
        self.is_read = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        self._is_awaited = "expect" in headers  # the client sends it when it is asked for

    async def receive(self) -> Message:
        """ASGI's `receive`.

        Raises:
            ApiError: too large (413), too slow (408), or the server is being stopped (503).
        """
        if self.is_read:
            return await self._receive()  # comes when the client leaves
        self._is_awaited = False
        message = await self._next()
        self._count(message)
        if self.size > self._settings.max_upload_bytes:
            raise too_large(self._settings)
        return message

    async def discard(self, seconds: float, most_bytes: int) -> None:
        """Reads on for so long, or so much, and throws away what comes."""
        most = self.size + most_bytes
        try:
            async with asyncio.timeout(seconds):
                while not (self.is_read or self._is_awaited) and self.size < most:
                    self._count(await self._receive())
        except TimeoutError:
            pass

    def _count(self, message: Message) -> None:
        self.size += len(message.get("body", b""))
        self.is_read = message["type"] == "http.disconnect" or not message.get("more_body", False)

    async def _next(self) -> Message:
        def give_up(_: asyncio.Future[None]) -> None:
            with contextlib.suppress(RuntimeError):  # the message has come meanwhile
                limit.reschedule(0.0)

        try:
            async with asyncio.timeout(min(_IDLE_S, self._deadline - time.monotonic())) as limit:
                self._stopping.add_done_callback(give_up)
                return await self._receive()
        except TimeoutError:
            pass
        finally:
            self._stopping.remove_done_callback(give_up)
        if self._stopping.done():
            raise ApiError(503, "The server is being stopped.", "not_ready", headers={"Retry-After": "2"})
        raise ApiError(408, "The body of the request arrives too slowly; send it again.", "request_timeout")


class _Answer:
    """Sends an answer with the request's id; where the body was not read, the connection is closed after it."""

    def __init__(self, send: Send, body: _Body, request_id: str):
        self._send, self._body, self._request_id = send, body, request_id
        self.status: int | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers["X-Request-ID"] = self._request_id
            if not self._body.is_read:
                headers["Connection"] = "close"
        elif not message.get("more_body", False) and not self._body.is_read:
            await self._send({**message, "more_body": True})
            await self._body.discard(_LINGER_S, _LINGER_BYTES)
            message = {"type": "http.response.body", "body": b"", "more_body": False}
        await self._send(message)
