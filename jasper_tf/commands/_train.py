"""Trains, or tries one step of everything with `trainer.fast_dev_run`."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path

import tensorflow as tf

from jasper_tf.config import Config
from jasper_tf.export.saved_model.writer import export
from jasper_tf.inference.load_model import load_model
from jasper_tf.io.peak_memory import peak_memory_bytes
from jasper_tf.training import trainer


def train(cfg: Config) -> Path | str:
    """Trains the model of `cfg`, or runs `fast_dev_run` if `cfg` sets it; returns the run's folder.

    Raises:
        UserError, TrainingInterruptedError, WorkerLostError: as `trainer.train`.
    """
    return fast_dev_run(cfg) if cfg.trainer.fast_dev_run else trainer.train(cfg)


def fast_dev_run(cfg: Config) -> Path:
    """Trains, validates, saves and exports with one batch of the longest utterances (`trainer.fast_dev_run`).

    Uses a temporary folder. Prints the time and the peak memory, which no batch of the real run exceeds.

    Returns:
        the folder of the run, which is deleted.

    Raises:
        UserError, TrainingInterruptedError, WorkerLostError: as `trainer.train`.
    """
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="fast_dev_run-") as folder:
        place = dataclasses.replace(cfg.exp_manager, exp_dir=folder, resume_if_exists=False, version="run")
        run = Path(trainer.train(dataclasses.replace(cfg, exp_manager=place)))
        if not run.is_dir():  # another machine's process wrote it
            return run
        saved = export(load_model(run), Path(folder) / "serving", (run / "config.yaml").read_text(encoding="utf-8"))
        size = sum(file.stat().st_size for file in saved.rglob("*") if file.is_file())
        print(f"exported: a SavedModel of {size / 1e6:.1f} MB, removed with the rest of {folder}")
    print(f"fast_dev_run: all done in {time.perf_counter() - began:.0f} s; memory at its peak: {_peak_memory()}")
    return run


def _peak_memory() -> str:
    peaks = [f"{peak_memory_bytes() / 2**30:.2f} GiB of main memory"]
    for number, _ in enumerate(tf.config.list_physical_devices("GPU")):
        peak = tf.config.experimental.get_memory_info(f"GPU:{number}")["peak"]
        peaks.append(f"{peak / 2**30:.2f} GiB of GPU {number}")
    return ", ".join(peaks)
