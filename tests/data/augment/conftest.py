"""Sounds to mix with, listed in manifests with relative paths."""

import json

import numpy as np
import pytest
import soundfile

RATE_HZ = 16000


@pytest.fixture
def listed(tmp_path):
    """`listed(name, [audio, ...], rate=16000, **keys)`: the path of a manifest of float WAVs beside it."""

    def listed(name, sounds, rate=RATE_HZ, **keys):
        folder = tmp_path / name
        folder.mkdir()
        with open(folder / "manifest.json", "w") as file:
            for number, audio in enumerate(sounds):
                soundfile.write(folder / f"{number}.wav", audio, rate, subtype="FLOAT")
                file.write(json.dumps({"audio_filepath": f"{number}.wav", **keys}) + "\n")
        return str(folder / "manifest.json")

    return listed


@pytest.fixture(scope="session")
def speech():
    """`speech(samples)`: audio [S] float32 that is speech-like in level: loud and quiet in turns."""

    def speech(samples, seed=0):
        generator = np.random.default_rng(seed)
        level = np.repeat(10 ** (generator.uniform(-40, 0, samples // 800 + 1) / 20), 800)[:samples]
        return (generator.normal(0, 0.2, samples) * level).clip(-1, 1).astype(np.float32)

    return speech
