"""Finds the largest batch that the memory holds (`trainer.auto_batch_duration`)."""

from __future__ import annotations

import dataclasses
import itertools
import math
import multiprocessing
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from jasper_tf.config import Config, load_config
from jasper_tf.errors import UserError
from jasper_tf.io.peak_memory import peak_memory_bytes
from jasper_tf.model.ctc_model import CTCModel
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.model.memory_estimate import available_memory
from jasper_tf.training.compilation import compile_model
from jasper_tf.training.distributed.devices import choose_devices, set_precision
from jasper_tf.training.run.folder import has_trained
from jasper_tf.training.run_data import read_data

SHARE = 0.8
"""Of the memory that is free, what a step may take."""

_ROWS = (1, 2, 4)
"""Utterances of the batches that are tried on the CPU."""
_MOST_ROWS = 4096
_GIB = 2**30


def with_batch_duration(cfg: Config, folder: Path) -> tuple[Config, str | None]:
    """Fills in `model.train_ds.batch_duration` where `trainer.auto_batch_duration` asks for it.

    A run that has trained keeps the value of its config.yaml; one that ended before may have found it for another
    configuration, or more than the memory holds. Steps are tried in a process of its own, with random audio of
    the longest padded length. On the CPU batches of 1, 2 and 4 utterances tell how the memory grows, and no larger one
    is tried; on a GPU batches grow until one does not fit.

    Args:
        cfg: of the run.
        folder: of the run, on this machine.

    Returns:
        the configuration, and a line for the log.

    Raises:
        UserError: not a single utterance fits, or the process ended.
    """
    dataset = cfg.model.train_ds
    if not cfg.trainer.auto_batch_duration or dataset is None:
        return cfg, None
    if dataset.batch_duration is not None:
        return cfg, f"auto_batch_duration: batches of {dataset.batch_duration:g} s, as batch_duration says"
    file = folder / "config.yaml"
    if cfg.exp_manager.resume_if_exists and file.is_file() and has_trained(folder):
        before = load_config(file)
        if before.trainer.auto_batch_duration and before.model.train_ds and before.model.train_ds.batch_duration:
            seconds, line = before.model.train_ds.batch_duration, "as this run found before"
            return _set(cfg, seconds), f"auto_batch_duration: batches of {seconds:g} s, {line}"
    # A process of its own: it returns all memory, and an allocation that fails ends it alone.
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        try:
            seconds, line = pool.submit(find_batch_duration, cfg).result()
        except BrokenProcessPool:
            raise UserError(
                "trainer.auto_batch_duration: the trial was killed, probably for its memory; "
                "set model.train_ds.batch_duration"
            ) from None
    return _set(cfg, seconds), f"auto_batch_duration: batches of {seconds:g} s, {line}"


def _set(cfg: Config, seconds: float) -> Config:
    assert cfg.model.train_ds is not None
    dataset = dataclasses.replace(cfg.model.train_ds, batch_duration=seconds)
    return dataclasses.replace(cfg, model=dataclasses.replace(cfg.model, train_ds=dataset))


def find_batch_duration(cfg: Config) -> tuple[float, str]:
    """Tries steps on the first device; returns the seconds of the largest batch on each device, and how it was found.

    Raises:
        UserError: as `with_batch_duration`.
    """
    devices = choose_devices(cfg.trainer.accelerator, cfg.trainer.devices)
    keras.utils.set_random_seed(cfg.seed)
    set_precision(cfg.trainer.precision)
    buckets = read_data(cfg, 1).training.buckets
    with tf.device(devices[0]):
        trial = Trial(cfg, int(buckets.samples[-1]), int(buckets.labels[-1]))
        if "GPU" in devices[0]:
            fitting = most_rows_that_fit(trial.fits)
            if fitting < 1:
                raise _nothing_fits(trial.seconds)
            found = f"{SHARE:.0%} of {fitting} x {trial.seconds:.1f} s, which fit into the GPU"
            return largest_duration(fitting * SHARE, trial.seconds), found
        limit = SHARE * available_memory()
        rows, row = extrapolate_rows(trial.peak_memory, limit)
    rows /= len(devices)
    if rows < 1:
        raise _nothing_fits(trial.seconds)
    found = f"{row / trial.seconds / 2**20:.0f} MiB for a second of {limit / _GIB:.1f} GiB, {SHARE:.0%} of what is free"
    return largest_duration(rows, trial.seconds), found


def extrapolate_rows(peak_memory: Callable[[int], float], limit: float) -> tuple[float, float]:
    """The rows of a batch whose peak is `limit`, from batches of 1, 2 and 4, of which none is expected to exceed it.

    Args:
        peak_memory: rows of a batch -> bytes; called with more rows each time.
        limit: bytes.

    Returns:
        rows, below 1 for none; and bytes of a row, the most that one more has taken.
    """
    first = last = peak_memory(1)
    row = first  # at most
    for before, rows in itertools.pairwise(_ROWS):
        more = rows - before
        if last + more * row > limit:
            break
        last, peak = peak_memory(rows), last
        measured = (last - peak) / more
        row = max(1.0, measured if before == 1 else max(row, measured))
    return (limit - first) / row + 1, row


def largest_duration(rows: float, seconds: float) -> float:
    """Seconds of a batch of at most `rows` utterances of `seconds`, padding counted, in two digits and one at least."""
    wanted = max(1.0, min(rows, _MOST_ROWS)) * seconds
    digit = 10.0 ** (math.floor(math.log10(wanted)) - 1)
    return round(max(seconds, math.floor(wanted / digit) * digit), 3)


def most_rows_that_fit(fits: Callable[[int], bool], most: int = _MOST_ROWS) -> int:
    """The most rows for which `fits(rows)`, by doubling and then halving the distance; 0 for none."""
    good, bad = 0, None
    rows = 1
    while good < most and (bad is None or bad - good > max(1, good // 16)):
        if fits(rows):
            good = rows
        else:
            bad = rows
        rows = min(most, 2 * good) if bad is None else (good + bad) // 2
    return good


def _nothing_fits(seconds: float) -> UserError:
    return UserError(
        f"trainer.auto_batch_duration: not one recording of {seconds:.1f} s fits into the memory; set "
        "model.encoder.recompute=true or trainer.precision=bf16-mixed, or lower model.train_ds.max_duration"
    )


class Trial:
    """Training steps with random audio of one length.

    Args:
        cfg: of the run.
        samples: of an utterance.
        labels: of an utterance.

    Attributes:
        seconds: of an utterance.
    """

    def __init__(self, cfg: Config, samples: int, labels: int):
        self._samples, self._labels = samples, labels
        self.seconds = self._samples / cfg.model.sample_rate
        self._parts = cfg.trainer.accumulate_grad_batches
        self._model: CTCModel = build_model(cfg)
        compile_model(self._model, cfg, total_steps=10**6)
        self._model.make_train_function()
        self._random = np.random.default_rng(cfg.seed)

    def step(self, rows: int) -> None:
        """One step of `rows` utterances in each micro-batch."""
        count = rows * self._parts
        audio = self._random.normal(0, 0.1, (count, self._samples)).astype(np.float32)
        x = {"audio": audio, "audio_len": np.full(count, self._samples, np.int32)}
        # All labels differ from their neighbors: they need the fewest frames.
        labels = np.tile(np.arange(self._labels, dtype=np.int32) % 2, (count, 1))
        y = {"labels": labels, "label_len": np.full(count, self._labels, np.int32)}
        # Batches of an unknown size, as a run's are: a second trace would count as memory of the larger batch.
        batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(count)
        results = self._model.train_function(iter(batches))
        keras.tree.map_structure(np.asarray, results)  # waits for the step

    def peak_memory(self, rows: int) -> int:
        """Bytes that this process has used at most, after a step."""
        self.step(rows)
        return peak_memory_bytes()

    def fits(self, rows: int) -> bool:
        """Whether a step fits into the memory of the GPU."""
        try:
            self.step(rows)
        except tf.errors.ResourceExhaustedError:
            return False
        return True
