"""Results of a search: a table, a CSV file, and TensorBoard's HParams page."""

from __future__ import annotations

import csv
import json
import math
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api as hp
from tensorboard.plugins.hparams import api_pb2
from tensorboard.plugins.hparams import summary as hparams_summary

from jasper_tf.config.sections.tune_schema import Choice, IntRange
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.progress import clock
from jasper_tf.tuning.search_space import SearchSpace
from jasper_tf.tuning.trial_run import full_length_overrides


@dataclass(kw_only=True)
class Outcome:
    """The result of one trial.

    Args:
        name: of the trial and its run's folder.
        status: completed, failed or running.
        values: by key of the space.
        value: the objective's best; None unless completed.
        epochs: of the trial, with those of the trial that it continues.
        continues: the trial whose run it continues, if any (Hyperband).
        seconds: duration; None if the worker has another folder.
        reason: why it failed.
    """

    name: str
    status: str
    values: dict[str, Any]
    value: float | None = None
    epochs: int | None = None
    continues: str | None = None
    seconds: float | None = None
    reason: str = ""


@dataclass
class Results:
    """All trials of a search so far: completed ones, best first, then running ones, then failed ones.

    Args:
        space: what the trials vary.
        folder: of the search; holds `results.csv` and `hparams/`.
        run_name: of the configuration; prefix of the run's name in each trial's command.
    """

    space: SearchSpace
    folder: Path
    run_name: str
    outcomes: list[Outcome] = field(default_factory=list)
    _lengths: dict[str, list[str]] = field(default_factory=dict, init=False, repr=False)  # by trial: they need its data

    def update(self, outcomes: Sequence[Outcome]) -> None:
        """Replaces the outcomes."""
        order = {"completed": 0, "running": 1}
        self.outcomes = sorted(
            outcomes, key=lambda o: (order.get(o.status, 2), math.inf if o.value is None else o.value, o.name)
        )

    def write(self) -> None:
        """Writes `results.csv`, and the trials that are missing in `hparams/`."""
        objective, keys = self.space.tune.objective, list(self.space.tune.space)
        with atomic_write(self.folder / "results.csv") as file:
            writer = csv.writer(file, lineterminator="\n")
            head = ["trial", "status", objective, "epochs", "continues", "seconds", *keys, "reason", "command"]
            writer.writerow(head)
            for o in self.outcomes:
                seconds = None if o.seconds is None else f"{o.seconds:.1f}"
                shown = [_shown(o.values.get(key)) for key in keys]
                figures = [o.name, o.status, o.value, o.epochs, o.continues, seconds]
                writer.writerow([*figures, *shown, o.reason, self.command(o)])
        self._write_hparams()

    @property
    def best(self) -> Outcome | None:
        """Completed trial with the lowest value of the objective, or None."""
        return self.outcomes[0] if self.outcomes and self.outcomes[0].status == "completed" else None

    def command(self, outcome: Outcome) -> str:
        """Returns the command that trains the configuration of a trial in full length."""
        if outcome.name not in self._lengths:
            self._lengths[outcome.name] = full_length_overrides(self.space, outcome.values)
        return self.space.command(outcome.values, f"{self.run_name}_{outcome.name}", self._lengths[outcome.name])

    def table(self) -> str:
        """Formats a table for the terminal, a line per trial."""
        keys = list(self.space.tune.space)
        rows = [["trial", self.space.tune.objective, "epochs", "time", *_short(keys), ""]]
        for o in self.outcomes:
            value = o.status if o.value is None else f"{o.value:.4f}"
            values = [_shown(o.values.get(key)) for key in keys]
            seconds = "" if o.seconds is None else clock(o.seconds)
            rows.append([o.name, value, str(o.epochs or ""), seconds, *values, _cut(o.reason, 100)])
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(text.ljust(w) for text, w in zip(row, widths, strict=True)).rstrip() for row in rows)

    def _write_hparams(self) -> None:
        folder, objective = self.folder / "hparams", self.space.tune.objective
        domains = {key: _domain(dimension) for key, dimension in self.space.tune.space.items()}
        if not folder.exists():
            with _written_whole(folder):
                metric = hp.Metric(f"best/{objective}", display_name=f"best {objective}")
                hp.hparams_config(hparams=[hp.HParam(*item) for item in domains.items()], metrics=[metric])
        for o in self.outcomes:
            if o.status == "running" or (folder / o.name).exists():
                continue
            with _written_whole(folder / o.name):
                hp.hparams({key: _in(domains[key], value) for key, value in o.values.items()}, trial_id=o.name)
                if o.value is not None:
                    tf.summary.scalar(f"best/{objective}", o.value, step=o.epochs or 0)
                status = api_pb2.STATUS_SUCCESS if o.status == "completed" else api_pb2.STATUS_FAILURE
                end = hparams_summary.session_end_pb(status)
                tf.summary.experimental.write_raw_pb(end.SerializeToString(), step=0)


@contextmanager
def _written_whole(folder: Path) -> Iterator[None]:
    """Writes TensorBoard events to a folder that gets its name when it is complete."""
    temporary = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(temporary, ignore_errors=True)
    writer = tf.summary.create_file_writer(str(temporary))
    with writer.as_default():
        yield
    writer.close()
    temporary.rename(folder)


def _domain(dimension: Any) -> Any:
    if not isinstance(dimension, Choice):
        return (hp.IntInterval if isinstance(dimension, IntRange) else hp.RealInterval)(dimension.min, dimension.max)
    if all(type(value) in (int, float) for value in dimension.values):
        return hp.Discrete([float(value) for value in dimension.values])
    return hp.Discrete([_shown(value) for value in dimension.values])


def _in(domain: Any, value: Any) -> Any:
    return _shown(value) if domain.dtype is str else domain.dtype(value)


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _cut(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 3]}..."


def _short(keys: list[str]) -> list[str]:
    """Shortens each key to its last parts, as few as keep the keys distinct."""
    shortened = []
    for key in keys:
        parts = key.split(".")
        for count in range(1, len(parts) + 1):
            end = parts[-count:]
            if sum(other.split(".")[-count:] == end for other in keys) == 1:
                break
        shortened.append(".".join(end))
    return shortened
