"""Figures of the live server, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64)


class ServerMetrics:
    """Figures of one application, in a registry of their own.

    Attributes:
        requests: answers by route, method and status.
        latency: seconds from a request's headers to the end of its answer, by route.
        rejected: requests that were refused, by reason: "queue_full", "not_ready", "unauthorized", "too_large".
        audio_s: seconds of recordings that were transcribed.
        batch_size: recordings or pieces in a batch.
        batch_latency: seconds that a batch took.
        canceled: recordings whose client left before the answer.
    """

    def __init__(self) -> None:
        self._registry = own = CollectorRegistry()
        self.requests = Counter("jasper_requests", "Answers", ["route", "method", "status"], registry=own)
        self.latency = Histogram("jasper_request_seconds", "Time to the end", ["route"], buckets=_SECONDS, registry=own)
        self.rejected = Counter("jasper_rejected", "Requests refused", ["reason"], registry=own)
        self.audio_s = Counter("jasper_audio_seconds", "Audio transcribed, seconds", registry=own)
        self.batch_size = Histogram("jasper_batch_size", "Recordings or pieces", buckets=_SIZES, registry=own)
        self.batch_latency = Histogram("jasper_batch_seconds", "Time of a batch", buckets=_SECONDS, registry=own)
        self.canceled = Counter("jasper_canceled", "Recordings whose client left", registry=own)

    def watch(self, name: str, description: str, value: Callable[[], float]) -> None:
        """Adds a figure that is read when it is asked for."""
        Gauge(name, description, registry=self._registry).set_function(value)

    def text(self) -> bytes:
        """All of them, in Prometheus's text format."""
        return generate_latest(self._registry)
