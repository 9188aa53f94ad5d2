"""How many threads the served model uses, and for how many batches at a time."""

from __future__ import annotations

import os
from pathlib import Path

from jasper_tf.inference.model_path import find_edge_model, find_model_file, local_model

_SMALL_BYTES = 10_000_000
"""Batches of a smaller model take about as long in one thread as in all, and wait whenever requests take their core."""


def limit_threads(model: str | Path, threads: int | None) -> None:
    """Sets the threads of TensorFlow's operations; to be called before TensorFlow computes anything.

    Args:
        model: what `load_recognizer` takes.
        threads: their number. Default: what the environment (`TF_NUM_INTRAOP_THREADS`) says, else all cores; of a
            small model all but one, which requests and the decoding of audio use.
    """
    import tensorflow as tf  # takes seconds: after the server listens

    if threads is None:
        if "TF_NUM_INTRAOP_THREADS" in os.environ or not is_small_model(model):
            return
        threads = max(1, (os.cpu_count() or 1) - 1)
    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)


def choose_parallel_batches(model: str | Path) -> int:
    """How many batches are recognized side by side: 2 of a small model, whose threads often wait for Python.

    An edge model has one interpreter, which takes one batch at a time.

    Args:
        model: what `load_recognizer` takes.
    """
    return 2 if is_small_model(model) and not find_edge_model(local_model(model)) else 1


def is_small_model(model: str | Path) -> bool:
    """Whether a model is so small that several threads hardly make an operation faster."""
    return _model_bytes(local_model(model)) <= _SMALL_BYTES


def _model_bytes(path: Path) -> int:
    edge = find_edge_model(path)
    if edge or not path.is_dir() or (path / "model.keras").is_file():
        return (edge or find_model_file(path)).stat().st_size
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
