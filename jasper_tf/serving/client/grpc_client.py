"""Transcription by a TensorFlow Serving server over gRPC."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import grpc
import numpy as np

from jasper_tf.inference.transcript import Transcript, read_outputs
from jasper_tf.serving.client.hot_words import INPUTS, RequestHotWords
from jasper_tf.serving.client.prediction_messages import (
    PREDICT,
    PredictRequest,
    PredictResponse,
    array_to_tensor,
    tensor_to_array,
)
from jasper_tf.serving.client.server_error import BackOff, ServerError, foreign_model, said_by_server

GRPC_PORT = 8500
"""The default port of TensorFlow Serving for gRPC."""

MODEL_NAME = "jasper"
"""The model's name in configs/serving/models.config."""

MAX_MESSAGE_MB = 4.0
"""Default limit of gRPC servers and proxies, in 2^20 bytes; TensorFlow Serving itself accepts 2 GB."""

ENVELOPE_BYTES = 4096
"""Room for names and shapes around the samples."""

_BYTES_PER_SAMPLE = 4


class GrpcClient:
    """Sends one recording at a time to `PredictionService.Predict`. Thread-safe.

    Args:
        server: "HOST:PORT".
        model: the model's name on the server.
        version: a version's number; None: the newest one.
        timeout_s: deadline of one try, seconds.
        back_off: how often, and after which waits, UNAVAILABLE is tried again.
        max_message_mb: a larger request is not sent, a larger answer not taken; in 2^20 bytes.
        hot_words: words or phrases that are expected, with their weights, for a model with a beam search.
    """

    def __init__(
        self,
        server: str,
        model: str = MODEL_NAME,
        version: int | None = None,
        timeout_s: float = 60.0,
        back_off: BackOff | None = None,
        max_message_mb: float = MAX_MESSAGE_MB,
        hot_words: Mapping[str, float] | None = None,
    ):
        self.server = server
        self.model = model
        self._hot_words = RequestHotWords(hot_words, f"{server}: model {model!r}")
        self.version = version
        self.timeout_s = timeout_s
        self.back_off = back_off or BackOff(retries=4)
        self.max_message_mb = max_message_mb
        limit = int(max_message_mb * 2**20)
        options = [
            ("grpc.max_send_message_length", limit),
            ("grpc.max_receive_message_length", limit),
            # Only our waits: gRPC would fail immediately during its own, which grow to two minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.min_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 1000),
            ("grpc.enable_retries", 0),
            # A name with several addresses: requests are spread over all servers, by default one gets all.
            ("grpc.service_config", '{"loadBalancingConfig": [{"round_robin": {}}]}'),
            # The server is named explicitly: no proxy from the environment.
            ("grpc.enable_http_proxy", 0),
        ]
        self._channel = grpc.insecure_channel(server, options=options)
        self._predict = self._channel.unary_unary(
            PREDICT,
            request_serializer=PredictRequest.SerializeToString,
            response_deserializer=PredictResponse.FromString,
        )

    def max_samples(self) -> int:
        """The longest recording that fits into one message."""
        return max(0, int(self.max_message_mb * 2**20) - ENVELOPE_BYTES) // _BYTES_PER_SAMPLE

    def recognize(self, audio: np.ndarray, words: bool = True) -> Transcript:
        """Audio [S] float32 at the model's rate -> its Transcript.

        Args:
            words: False calls the signature `text`, which computes no words. (TensorFlow Serving does not batch
                requests with an output filter.)

        Raises:
            ServerError: no response.
        """
        inputs = {"audio": np.asarray(audio, np.float32)[None], "audio_len": np.array([len(audio)], np.int32)}
        request = self._request("serving_default" if words else "text", inputs)
        response = self._hot_words.call(lambda hot_words: self._ask(request, hot_words))
        try:
            [found] = read_outputs(_arrays(response))
        except (KeyError, TypeError, ValueError) as error:
            reason = f"no output {error}" if isinstance(error, KeyError) else said_by_server(str(error))
            raise foreign_model(self.server, self.model, reason) from None
        return found

    def predict(self, signature: str, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Calls a signature: its inputs by name -> its outputs by name.

        Raises:
            ServerError: no response.
        """
        request = self._request(signature, inputs)
        response = self.back_off.call(lambda: self._try(request))
        try:
            return _arrays(response)
        except ValueError as error:
            raise foreign_model(self.server, self.model, said_by_server(str(error))) from None

    def close(self) -> None:
        self._channel.close()

    def __enter__(self) -> GrpcClient:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _request(self, signature: str, inputs: Mapping[str, np.ndarray]) -> Any:
        request = PredictRequest()
        request.model_spec.name = self.model
        request.model_spec.signature_name = signature
        if self.version is not None:
            request.model_spec.version.value = self.version
        for name, values in inputs.items():
            array_to_tensor(values, request.inputs[name])
        return request

    def _ask(self, request: Any, hot_words: Mapping[str, float] | None) -> Any:
        if hot_words is not None:
            words = np.array([word.encode() for word in hot_words], object)
            for name, values in zip(INPUTS, (words, np.array([*hot_words.values()], np.float32)), strict=True):
                array_to_tensor(values, request.inputs[name])
        return self.back_off.call(lambda: self._try(request))

    def _try(self, request: Any) -> Any:
        try:
            return self._predict(request, timeout=self.timeout_s)
        except grpc.RpcError as error:
            raise self._explain(error) from None

    def _explain(self, error: Any) -> ServerError:
        status, code = error.code(), grpc.StatusCode
        said = said_by_server(error.details() or "")
        where = f"{self.server}: "
        if status == code.UNAVAILABLE:
            return ServerError(f"{where}no server answers there, or it is not ready: {said}", unavailable=True)
        if status == code.DEADLINE_EXCEEDED:
            return ServerError(f"{where}no answer within {self.timeout_s:g} s; raise --timeout or load the server less")
        if status == code.NOT_FOUND:
            version = "" if self.version is None else f" version {self.version}"
            return ServerError(f"{where}serves no model {self.model!r}{version} ({said})", concerns_all=True)
        if status == code.UNIMPLEMENTED:
            return ServerError(f"{where}is not a TensorFlow Serving server ({said})", concerns_all=True)
        if status == code.RESOURCE_EXHAUSTED and "message" in said.lower():
            return ServerError(
                f"{where}the message is too large ({said}); lower --chunk-s, or raise --max-message-mb if the "
                "server accepts it"
            )
        if status == code.INVALID_ARGUMENT:
            return ServerError(f"{where}the server refuses the request: {said}")
        return ServerError(f"{where}{status.name}: {said}")


def _arrays(response: Any) -> dict[str, np.ndarray]:
    return {name: tensor_to_array(tensor) for name, tensor in response.outputs.items()}
