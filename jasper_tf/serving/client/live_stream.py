"""Live audio through the signature `stream` of a model on a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from jasper_tf.serving.client.grpc_client import GrpcClient
from jasper_tf.serving.client.rest_client import RestClient
from jasper_tf.serving.client.server_error import ServerError, foreign_model

_LONGEST_S = 3600
"""Largest plausible frame or look-ahead, in seconds; longer ones mean that the server has another model."""


def stream_text(
    client: GrpcClient | RestClient, audio: Iterable[np.ndarray], sample_rate: int, chunk_s: float = 0.32
) -> Iterator[str]:
    """Sends a stream of audio chunk by chunk; gives what each adds to the text, as soon as it is known.

    The client carries the stream's state from answer to request, so that any server of the same model may answer. All
    parts together are the greedy text of the whole recording.

    Args:
        client: of one server or of several.
        audio: its parts in order, each [S] float32, S of any size.
        sample_rate: of the audio, Hz; must be the model's.
        chunk_s: of a request, rounded up to the model's frames.

    Raises:
        ServerError: no response; the model needs whole recordings, or another rate.
    """
    try:
        start = client.predict("stream_start", {"sample_rate": np.array([sample_rate], np.int32)})
    except ServerError as error:
        if "stream_start" not in str(error):
            raise
        raise ServerError(
            f"{client.server}: model {client.model!r} needs whole recordings; export one that can stream "
            "(configs/an4_streaming.yaml)",
            concerns_all=True,
        ) from None
    state = _state(client, start)
    frame, flush = (_samples(client, start, name, sample_rate) for name in ("frame_samples", "flush_samples"))
    size = max(1, -(-round(chunk_s * sample_rate) // frame)) * frame
    rest = np.zeros(0, np.float32)
    for part in audio:
        rest = np.concatenate([rest, np.asarray(part, np.float32)])
        while len(rest) >= size:
            text, state = _step(client, rest[:size], size, state)
            rest = rest[size:]
            yield text
    behind = np.zeros(-len(rest) % frame + flush, np.float32)
    yield _step(client, np.concatenate([rest, behind]), len(rest), state)[0]


def _step(client: GrpcClient | RestClient, chunk: np.ndarray, length: int, state: np.ndarray) -> tuple[str, np.ndarray]:
    inputs = {"chunk": chunk[None], "chunk_len": np.array([length], np.int32), "state": state}
    found = client.predict("stream", inputs)
    try:
        [text] = found["text"]
        text = text.decode("utf-8") if isinstance(text, bytes) else str(text)
    except (KeyError, TypeError, ValueError):
        raise foreign_model(client.server, client.model, "no text") from None
    return text, _state(client, found)


def _state(client: GrpcClient | RestClient, found: dict[str, np.ndarray]) -> np.ndarray:
    try:
        state = found["state"].astype(np.float32)
    except (KeyError, TypeError, ValueError):
        state = np.zeros(0, np.float32)
    if state.ndim != 2 or len(state) != 1:
        raise foreign_model(client.server, client.model, "no state")
    return state


def _samples(client: GrpcClient | RestClient, found: dict[str, np.ndarray], name: str, sample_rate: int) -> int:
    try:
        [samples] = map(int, found[name])
    except (KeyError, TypeError, ValueError, OverflowError):
        samples = 0
    if not 0 < samples <= _LONGEST_S * sample_rate:
        raise foreign_model(client.server, client.model, f"no {name}")
    return samples
