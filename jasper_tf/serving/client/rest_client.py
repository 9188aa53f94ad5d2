"""Transcription by a TensorFlow Serving server over its REST API."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import socket
import time
import urllib.parse
from collections.abc import Mapping
from typing import Any

import numpy as np
import orjson
import soundfile

from jasper_tf.inference.transcript import Transcript, read_outputs
from jasper_tf.serving.client.grpc_client import ENVELOPE_BYTES, MAX_MESSAGE_MB, MODEL_NAME
from jasper_tf.serving.client.hot_words import INPUTS, RequestHotWords
from jasper_tf.serving.client.server_error import BackOff, ServerError, foreign_model, said_by_server

REST_PORT = 8501
"""The REST port of TensorFlow Serving's docker image."""


class RestClient:
    """Sends one recording at a time to `audio_bytes` (`audio_bytes_text`), as 32-bit float WAV in base64. Thread-safe.

    As JSON digits a sample would take 12 bytes and slow parsing; base64 takes 5.3 bytes and is exact. Requests are in
    the column format ("inputs"): TensorFlow Serving rejects the row format for signatures whose outputs differ in their
    first dimension, as words do.

    Args: as GrpcClient, and
        sample_rate: of the audio given to `recognize`, Hz.
    """

    def __init__(
        self,
        server: str,
        model: str = MODEL_NAME,
        version: int | None = None,
        timeout_s: float = 60.0,
        back_off: BackOff | None = None,
        max_message_mb: float = MAX_MESSAGE_MB,
        sample_rate: int = 16000,
        hot_words: Mapping[str, float] | None = None,
    ):
        self.server = server
        self.model = model
        self.version = version
        self.timeout_s = timeout_s
        self.back_off = back_off or BackOff(retries=4)
        self.max_message_mb = max_message_mb
        self.sample_rate = sample_rate
        self._limit = int(max_message_mb * 2**20)
        at = f"/v1/models/{urllib.parse.quote(model, safe='')}" + ("" if version is None else f"/versions/{version}")
        self._path = at
        self._hot_words = RequestHotWords(hot_words, f"{server}: model {model!r}")
        self._takes_hot_words = False

    def max_samples(self) -> int:
        """The longest recording that fits into one message."""
        return max(0, self._limit - ENVELOPE_BYTES) * 3 // 4 // 4

    def recognize(self, audio: np.ndarray, words: bool = True) -> Transcript:
        """Audio [S] float32 at `sample_rate` -> its Transcript.

        Args:
            words: False: without words.

        Raises:
            ServerError: no response.
        """
        wav = io.BytesIO()
        soundfile.write(wav, np.asarray(audio, np.float32), self.sample_rate, format="WAV", subtype="FLOAT")
        return self.recognize_file(wav.getvalue(), words)

    def recognize_file(self, wav: bytes, words: bool = True) -> Transcript:
        """The bytes of a whole WAV file -> its Transcript.

        Args:
            words: False: without words.

        Raises:
            ServerError: no response.
        """
        inputs = {"audio": [{"b64": base64.b64encode(wav).decode("ascii")}]}
        signature = "audio_bytes" if words else "audio_bytes_text"
        if self._hot_words.values and not self._takes_hot_words:
            self._require_hot_words(signature)
        answer = self._hot_words.call(lambda hot_words: self._ask(signature, inputs, hot_words))
        try:
            # Unlike json it rejects a lone surrogate and 200,000 brackets.
            outputs = orjson.loads(answer)["outputs"]
            # The response of a signature with one output lacks its name.
            outputs = outputs if isinstance(outputs, dict) else {"text": outputs}
            [found] = read_outputs({name: np.asarray(value) for name, value in outputs.items()})
        except (KeyError, TypeError, ValueError) as error:
            raise foreign_model(self.server, self.model, said_by_server(str(error))) from None
        return found

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls a signature with several outputs: its inputs by name -> its outputs by name, numbers as JSON has them.

        Raises:
            ServerError: no response.
        """
        # Of a float32 orjson writes the digits that it needs, at most nine.
        body = orjson.dumps({"signature_name": signature, "inputs": inputs}, option=orjson.OPT_SERIALIZE_NUMPY)
        answer = self._send(body)
        try:
            return {name: np.asarray(value) for name, value in orjson.loads(answer)["outputs"].items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise foreign_model(self.server, self.model, said_by_server(str(error))) from None

    def _ask(self, signature: str, inputs: dict[str, Any], hot_words: Mapping[str, float] | None) -> bytes:
        if hot_words is not None:
            inputs = inputs | dict(zip(INPUTS, ([*hot_words], [*hot_words.values()]), strict=True))
        return self._send(json.dumps({"signature_name": signature, "inputs": inputs}).encode("ascii"))

    def _send(self, body: bytes) -> bytes:
        if len(body) > self._limit:
            raise ServerError(
                f"{self.server}: the message is too large ({len(body)} bytes, --max-message-mb "
                f"{self.max_message_mb:g}); lower --chunk-s or raise --max-message-mb"
            )
        return self.back_off.call(lambda: self._try("POST", f"{self._path}:predict", body))

    def _require_hot_words(self, signature: str) -> None:
        """Raises a ServerError where the signature has no such inputs: over REST, the server ignores those it lacks."""
        answer = self.back_off.call(lambda: self._try("GET", f"{self._path}/metadata"))
        try:
            found = orjson.loads(answer)["metadata"]["signature_def"]["signature_def"][signature]["inputs"]
        except (KeyError, TypeError, ValueError):
            found = {}
        if not all(name in found for name in INPUTS):
            raise self._hot_words.not_taken()
        self._takes_hot_words = True

    def close(self) -> None:
        """Does nothing: no connection stays open."""

    def __enter__(self) -> RestClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _try(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection(self.server)
        try:
            connection.sock = _connect(connection.host, connection.port, time.monotonic() + self.timeout_s)
            # A server may reject a message before it is complete; its response can still be read.
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                connection.request(method, path, body, {"Content-Type": "application/json"})
            response = connection.getresponse()
            answer = bytearray()
            while len(answer) <= self._limit and (part := response.read1(1 << 16)):
                answer += part
            if response.length and len(answer) <= self._limit:
                raise ConnectionResetError("the answer is cut off")
        except TimeoutError:
            raise ServerError(
                f"{self.server}: no answer within {self.timeout_s:g} s; raise --timeout or load the server less"
            ) from None
        except http.client.BadStatusLine as error:
            if isinstance(error, http.client.RemoteDisconnected):
                raise ServerError(
                    f"{self.server}: no server answers there, or it is not ready: {error}", unavailable=True
                ) from None
            raise ServerError(
                f"{self.server}: does not speak HTTP; --rest needs the REST port ({REST_PORT})", concerns_all=True
            ) from None
        except socket.gaierror as error:
            raise ServerError(f"{self.server}: no such host ({error.strerror})", concerns_all=True) from None
        except (OSError, http.client.HTTPException) as error:
            said = said_by_server(str(error))
            raise ServerError(
                f"{self.server}: no server answers there, or it is not ready: {said}", unavailable=True
            ) from None
        finally:
            connection.close()
        if len(answer) > self._limit:
            raise ServerError(f"{self.server}: the answer is too large; raise --max-message-mb")
        if response.status != http.HTTPStatus.OK:
            raise self._explain(response.status, bytes(answer))
        return bytes(answer)

    def _explain(self, status: int, answer: bytes) -> ServerError:
        said = _said(answer)
        where = f"{self.server}: "
        if status == http.HTTPStatus.SERVICE_UNAVAILABLE:
            return ServerError(
                f"{where}no server answers there, or it is not ready: {said or 'HTTP 503'}", unavailable=True
            )
        if status == http.HTTPStatus.GATEWAY_TIMEOUT:
            return ServerError(
                f"{where}the server gave up ({said or 'HTTP 504'}); load it less, or raise its --rest_api_timeout_in_ms"
            )
        if status == http.HTTPStatus.NOT_FOUND:
            version = "" if self.version is None else f" version {self.version}"
            return ServerError(f"{where}serves no model {self.model!r}{version} ({said})", concerns_all=True)
        if status == http.HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
            return ServerError(f"{where}the message is too large ({said or 'HTTP 413'}); lower --chunk-s")
        if status == http.HTTPStatus.BAD_REQUEST:
            return ServerError(f"{where}the server refuses the request: {said}")
        return ServerError(f"{where}HTTP {status}: {said}")


class _DeadlineSocket(socket.socket):
    """A socket with one deadline for all its operations, `give_up` on the monotonic clock.

    The timeouts of sockets, http.client, urllib3 and requests are for one operation; a header line takes many.
    """

    give_up: float

    def limit(self) -> None:
        left_s = self.give_up - time.monotonic()
        if left_s <= 0:
            raise TimeoutError
        self.settimeout(left_s)

    def recv_into(self, *arguments: Any) -> int:
        self.limit()
        return super().recv_into(*arguments)

    def sendall(self, *arguments: Any) -> None:
        self.limit()
        super().sendall(*arguments)


def _connect(host: str, port: int, give_up: float) -> _DeadlineSocket:
    """Connects to the first of the host's addresses that responds."""
    failed: OSError = OSError("the host has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        connected = _DeadlineSocket(family, kind, protocol)
        connected.give_up = give_up
        try:
            connected.limit()
            connected.connect(address)
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # as http.client does
            return connected
        except OSError as error:
            connected.close()
            failed = error
    raise failed


def _said(answer: bytes) -> str:
    """The server's message in one line: the value of "error", or the beginning of the response."""
    text = answer.decode("utf-8", "replace")
    try:
        found: Any = orjson.loads(text)["error"]
    except (KeyError, TypeError, ValueError):
        found = text
    return said_by_server(str(found))
