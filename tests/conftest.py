"""Fixtures for every test: reference data, golden numbers, a small spoken corpus."""

import os

# TensorFlow reads it once, at its first import: before any test module is collected.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of recordings and reference numbers beside the repository (JASPER_SHARED)."""
    folder = Path(os.environ.get("JASPER_SHARED") or REPOSITORY.parent / "shared")
    if folder.is_dir():
        return folder.resolve()
    reason = f"no reference data at {folder}; JASPER_SHARED names their folder"
    if os.environ.get("CI"):
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def golden() -> Path:
    """The folder of small reference numbers that is part of the repository."""
    return Path(__file__).parent / "golden"


@pytest.fixture(scope="session")
def spoken_corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthesised speech, not to be changed: train.jsonl (96 utterances), dev.jsonl (12), test.jsonl (16)."""
    from jasper_tf.data.synthesis import make_corpus

    folder = tmp_path_factory.mktemp("spoken_corpus")
    make_corpus(folder, train=96, dev=12, test=16, seed=1)
    return folder
