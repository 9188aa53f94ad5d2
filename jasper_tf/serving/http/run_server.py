"""Runs the live server until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any

import uvicorn
from fastapi import FastAPI
from uvicorn.protocols.http.h11_impl import H11Protocol

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.errors import UserError, one_line
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.io.file_access import is_out_of_files
from jasper_tf.serving.http.app import create_app
from jasper_tf.serving.http.server_settings import ServerSettings

_HEADERS_S = 30.0
"""A connection that has sent no request after this time, or that of a body if it is shorter, is closed."""
_KEEP_ALIVE_S = 30
"""So is one that sends no further request: longer than clients wait before they use a connection again."""
_BACKLOG = 512
_REQUESTS_NICE = 5
_FILE_LIMIT_LOG_S = 10.0
_PONG_S = 120.0
"""A client that sends a whole recording at once answers a ping behind it."""

logger = logging.getLogger(__name__)


def run_server(settings: ServerSettings, load: Callable[[], tuple[Transcriber, DecodingConfig]]) -> None:
    """Serves until SIGTERM or SIGINT, then finishes what was accepted; a second signal ends the process at once.

    Prints the address on stdout when the model is warm, and on stderr how long that took.

    Args:
        settings: of the server.
        load: as `create_app`.

    Raises:
        UserError: the address cannot be used, the files of TLS cannot be read, or the model cannot be loaded.
    """
    begin = time.monotonic()
    _validate_tls(settings)
    listener = _listen(settings.host, settings.port)
    port = listener.getsockname()[1]
    host = settings.host if settings.host not in ("127.0.0.1", "0.0.0.0", "::", "::1") else "localhost"
    address = f"http{'s' if settings.tls_cert else ''}://{f'[{host}]' if ':' in host else host}:{port}/"

    def stop() -> None:
        server.should_exit = True

    def announce() -> None:
        with contextlib.suppress(OSError):  # nobody reads it
            print(address, flush=True)
            print(f"ready after {time.monotonic() - begin:.1f} s", file=sys.stderr, flush=True)

    app = create_app(settings, load, announce, stop)
    connection = type("Connection", (_Connection,), {"headers_s": min(_HEADERS_S, settings.body_timeout_s)})
    config = uvicorn.Config(
        app,
        http=connection,
        timeout_keep_alive=_KEEP_ALIVE_S,
        ws_max_size=1 << 20,
        ws_ping_timeout=_PONG_S,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        ssl_certfile=settings.tls_cert or None,
        ssl_keyfile=settings.tls_key or None,
        lifespan="on",
    )
    server = _Server(config, app)
    server.run(sockets=[listener])
    failure = app.state.worker.failure
    if failure is not None:
        raise failure


class _Server(uvicorn.Server):
    """uvicorn's server, which ends with status 0 after a signal, and at once after a second one."""

    def __init__(self, config: uvicorn.Config, app: FastAPI):
        super().__init__(config)
        self._app = app

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        previous = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        if self.should_exit:
            os._exit(128 + sig)
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(_FileLimitLog())
        await super().startup(sockets)
        _prefer_inference()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        if not self._app.state.stopping.done():
            self._app.state.stopping.set_result(None)
        await super().shutdown(sockets)


def _prefer_inference() -> None:
    """Lowers the priority of this thread, and of those that it starts from here on: readers, but not the inference.

    Requests that come would else take the cores from the model in the middle of a batch, for which others wait: a tenth
    less throughput. Only Linux has a priority for each thread.
    """
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _REQUESTS_NICE)


class _FileLimitLog:
    """Says once in a while that no connection can be accepted; asyncio (3.11) writes thousands of tracebacks a second.

    Everything else is logged as always.
    """

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if not is_out_of_files(error):
            loop.default_exception_handler(context)
        elif loop.time() >= self._next:
            self._next = loop.time() + _FILE_LIMIT_LOG_S
            logger.warning("too many open files: connections have to wait; raise the limit (ulimit -n)")


class _Connection(H11Protocol):
    """uvicorn's connection, which is closed when it sends no request."""

    headers_s = _HEADERS_S

    def connection_made(self, transport) -> None:  # type: ignore[override]  # uvicorn states a narrower type
        super().connection_made(transport)
        self._silence: asyncio.TimerHandle | None = self._expect_request()

    def data_received(self, data: bytes) -> None:
        if self._silence is None:  # uvicorn waits without end for the rest of a second request
            self._silence = self._expect_request()
        super().data_received(data)

    def on_response_complete(self) -> None:
        self._stop_expecting()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_expecting()
        super().connection_lost(exc)

    def _expect_request(self) -> asyncio.TimerHandle:
        return self.loop.call_later(self.headers_s, self._close_if_silent)

    def _stop_expecting(self) -> None:
        if self._silence is not None:
            self._silence.cancel()
            self._silence = None

    def _close_if_silent(self) -> None:
        # A WebSocket has another protocol by now.
        is_silent = self.cycle is None or self.cycle.response_complete
        if is_silent and not self.transport.is_closing() and self.transport.get_protocol() is self:
            self.transport.close()


def _listen(host: str, port: int) -> socket.socket:
    """Listens before TensorFlow is loaded: an address that is in use is said at once."""
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(_BACKLOG)
    except OSError as error:
        raise UserError(
            f"--host {host} --port {port}: cannot be listened on ({error.strerror or error}); choose another"
        ) from None
    return listener


def _validate_tls(settings: ServerSettings) -> None:
    for option, path in (("--tls-cert", settings.tls_cert), ("--tls-key", settings.tls_key)):
        if path and not os.path.isfile(path):
            raise UserError(f"{option} {path}: no such file; give a file in PEM format")
    if not settings.tls_cert:
        return
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(settings.tls_cert, settings.tls_key or None, password="")  # "": nothing is asked
    except (OSError, ValueError) as error:
        raise UserError(
            f"--tls-cert {settings.tls_cert}: cannot be used ({one_line(error)}); "
            "give a certificate with its private key, unencrypted, in PEM format"
        ) from None
