"""Encodes samples in the containers that PyAV reads and libsndfile does not."""

from __future__ import annotations

import io
from fractions import Fraction

import numpy as np
import pytest

MEDIA = {  # name: container, codec, rate in Hz, channels
    "a.m4a": ("ipod", "aac", 44_100, 1),
    "a.mp4": ("mp4", "aac", 48_000, 2),
    "a.mov": ("mov", "alac", 44_100, 1),
    "a.webm": ("webm", "libopus", 48_000, 1),
    "live.webm": ("webm", "libopus", 48_000, 1),
    "a.mkv": ("matroska", "aac", 16_000, 2),
    "a.aac": ("adts", "aac", 16_000, 1),
    "cd.aac": ("adts", "aac", 44_100, 1),
    "a.wma": ("asf", "wmav2", 44_100, 1),
}


def encode_media(name: str, audio: np.ndarray, rate: int) -> bytes:
    """A file of `MEDIA` with audio [S] of `rate` Hz in every channel. A live one states no length."""
    av = pytest.importorskip("av", reason="needs the extra formats")
    kind, codec, rate_hz, channels = MEDIA[name]
    layout = "stereo" if channels == 2 else "mono"
    file = io.BytesIO()
    with av.open(file, "w", format=kind, options={"live": "1"} if name.startswith("live") else {}) as container:
        stream = container.add_stream(codec, rate=rate_hz, layout=layout)
        stream.bit_rate = 96_000
        frame = av.AudioFrame.from_ndarray(np.repeat(audio.astype(np.float32)[None], channels, 0), "fltp", layout)
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        context = stream.codec_context
        resampler = av.AudioResampler(context.format, layout, rate_hz, frame_size=context.frame_size or 1024)
        for part in (frame, None):
            for resampled in resampler.resample(part):
                container.mux(stream.encode(resampled))
        container.mux(stream.encode(None))
    return file.getvalue()
