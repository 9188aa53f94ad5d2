"""A tiny model, recordings of noise with different texts, and servers of the model."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from tests.serving.http.live_server import LiveServer

LABELS = list("zabcdefghijklmnopqrstuvwxy '")
"""In an order that lets the random weights say the space often."""
SECONDS = (0.6, 1.1, 1.7, 2.3, 3.1, 4.0, 0.9, 2.9)


def noise(seed: int, seconds: float) -> np.ndarray:
    """Noise in words: bursts of changing color, [S] float32 at 16 kHz."""
    rng = np.random.default_rng(seed)
    parts = []
    while sum(map(len, parts)) < 16000 * seconds:
        burst = rng.normal(size=int(rng.integers(1000, 4000)))
        parts.append(np.convolve(burst, rng.normal(size=8), "same") * rng.uniform(0.01, 0.3))
    return np.concatenate(parts)[: int(16000 * seconds)].astype(np.float32) / 4


def as_wav(samples: np.ndarray, rate: int = 16000, subtype: str = "FLOAT", form: str = "WAV") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype=subtype, format=form)
    return file.getvalue()


@pytest.fixture(scope="session")
def http_model(untrained_model):
    return untrained_model(LABELS)


@pytest.fixture(scope="session")
def model_folder(http_model, tmp_path_factory) -> Path:
    """A run's folder, `tiny`."""
    folder = tmp_path_factory.mktemp("serve") / "tiny"
    folder.mkdir()
    http_model.save(folder / "model.keras")
    return folder


@pytest.fixture(scope="session")
def recordings() -> dict[str, bytes]:
    """WAV files by name."""
    return {f"{seed}.wav": as_wav(noise(seed, seconds)) for seed, seconds in enumerate(SECONDS)}


@pytest.fixture(scope="session")
def expected(http_model, recordings):
    """The transcript of each, by the Transcriber that `transcribe` uses."""
    found = http_model.transcribe(list(recordings.values()), batch_size=1)
    assert len({one.text for one in found}) == len(found) and all(one.words for one in found)
    return dict(zip(recordings, found, strict=True))


@pytest.fixture(scope="module")
def server(model_folder):
    """A running server with the defaults."""
    with LiveServer(model_folder, "--chunk-s", "10", "--overlap-s", "2") as server:
        yield server
