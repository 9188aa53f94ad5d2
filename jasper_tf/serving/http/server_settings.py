"""Settings of the live server."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from jasper_tf.errors import UserError


@dataclass(frozen=True)
class ServerSettings:
    """Settings of the live server; what `jasper-tf serve` takes as options.

    Args:
        model_name: what `/v1/models` calls the model.
        host: address to listen on.
        port: 0: any free one.
        api_key: what clients must send as `Authorization: Bearer KEY`; empty: none.
        queue: accepted requests that are not answered yet; more get 429.
        batch_wait_ms: how long a recording waits for others to be recognized with.
        batch_size: largest number of recordings or pieces in a batch; 1: no batching.
        batch_s: longest batch in seconds of audio, padding included.
        parallel_batches: batches that are recognized side by side; the model must allow it (see `model_threads`).
        max_upload_mb: largest body of a request, 10**6 bytes.
        max_audio_s: longest recording, seconds.
        max_beam_size: largest beam that a request may ask for.
        max_live_streams: live streams at a time, those included whose client is away.
        live_keep_s: how long a live stream waits for a client that lost its connection, seconds.
        body_timeout_s: how long the body of a request may take to arrive.
        tls_cert: file of the certificate chain, PEM; empty: no TLS.
        tls_key: file of its private key; empty: it is in `tls_cert`.
        cors_origins: origins whose pages may call the server; ("*",): all.
        access_log: "plain" or "json" lines on stderr, or "off".

    Raises:
        UserError: a value is out of range; names the option, where there is one.
    """

    model_name: str = "jasper"
    host: str = "127.0.0.1"
    port: int = 8000
    api_key: str = field(default="", repr=False)
    queue: int = 64
    batch_wait_ms: float = 10.0
    batch_size: int = 16
    batch_s: float = 240.0
    parallel_batches: int = 1
    max_upload_mb: float = 200.0
    max_audio_s: float = 4 * 3600.0
    max_beam_size: int = 128
    max_live_streams: int = 32
    live_keep_s: float = 60.0
    body_timeout_s: float = 300.0
    tls_cert: str = ""
    tls_key: str = ""
    cors_origins: tuple[str, ...] = ()
    access_log: str = "plain"

    def __post_init__(self) -> None:
        if not 0 <= self.port < 65536:
            raise UserError(f"--port {self.port}: must be from 0 (any free one) to 65535")
        for name in ("queue", "batch_size", "parallel_batches", "max_beam_size", "max_live_streams"):
            if getattr(self, name) < 1:
                raise UserError(f"{_option(name)} {getattr(self, name)}: must be 1 or more")
        if not 0 < self.batch_s < math.inf:
            raise UserError(f"batch_s {self.batch_s:g}: must be a number above 0")
        for name in ("max_upload_mb", "max_audio_s", "live_keep_s", "body_timeout_s"):
            if not 0 < getattr(self, name) < math.inf:
                raise UserError(f"{_option(name)} {getattr(self, name):g}: must be a number above 0")
        if not 0 <= self.batch_wait_ms <= 10_000:
            raise UserError(f"--batch-wait-ms {self.batch_wait_ms:g}: must be from 0 to 10000")
        if self.tls_key and not self.tls_cert:
            raise UserError("--tls-key: a key without a certificate; add --tls-cert")
        if not all(character.isprintable() and character.isascii() for character in self.api_key):
            raise UserError("the API key has characters that no header can carry; use printable ASCII")

    @property
    def max_upload_bytes(self) -> int:
        return round(self.max_upload_mb * 1e6)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"
