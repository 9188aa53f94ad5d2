"""Checkpoints: everything that a run needs to go on as if it had never stopped."""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from jasper_tf.errors import UserError

_VARIABLES, _POSITION = "variables.npz", "position.json"


@dataclass
class Position:
    """Where a run stands.

    Args:
        epoch: the epoch to go on in, from 0.
        step_in_epoch: steps of it that are done.
        step: optimizer steps done in all.
        metrics: the newest validation results.
        best: the best value so far of the metric that `model.keras` is chosen by.
        waited: validations since early stopping saw its metric improve, and its best value.
        plateau: what `ReduceOnPlateau` has seen, and the scale of the learning rate.
        log: what `RunLog` needs to go on inside an epoch or a logging window; kept current by it.
    """

    epoch: int = 0
    step_in_epoch: int = 0
    step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    best: float | None = None
    waited: list[float] | None = None
    plateau: dict[str, Any] = field(default_factory=dict)
    log: dict[str, float] = field(default_factory=dict)


class CheckpointFolder:
    """The checkpoints of one run: each a folder with all variables, its position, and a checksum.

    A checkpoint holds the model's variables (weights, running statistics, the states of dither, masks and dropout) and
    the optimizer's. It is written beside and renamed, so it is there whole or not at all.

    Args:
        folder: where they lie; made when the first is written.
        monitor: the metric that `save_top_k` ranks by.
        mode: "min" for a metric that is better when lower, "max" for the others.
        save_top_k: how many of the best stay; -1 for all. The newest stays in any case when `save_last` is set.
    """

    def __init__(
        self,
        folder: str | Path,
        monitor: str = "val_wer",
        save_top_k: int = 3,
        save_last: bool = True,
        mode: str = "min",
    ):
        self.folder = Path(folder)
        self.monitor = monitor
        self.save_top_k = save_top_k
        self.save_last = save_last
        self.mode = mode

    def save(self, model: keras.Model, position: Position, keep: bool = False) -> Path:
        """Writes a checkpoint, then removes those that are neither among the best nor the newest.

        Args:
            model: built, with its optimizer.
            position: where the run stands.
            keep: leave this one whatever its rank, until the next is written.

        Raises:
            UserError: it cannot be written, for want of space for instance; those before are untouched.
        """
        try:
            return self._save(model, position, keep)
        except OSError as error:
            raise UserError(
                f"{self.folder}: the checkpoint of step {position.step} cannot be written ({error.strerror or error}); "
                "make room, then the same command goes on from the one before"
            ) from error

    def _save(self, model: keras.Model, position: Position, keep: bool) -> Path:
        for left_over in self.folder.glob(".*.partial"):
            shutil.rmtree(left_over)
        name = f"step={position.step:08d}"
        if self.monitor in position.metrics and position.step_in_epoch == 0:
            name += f"-{self.monitor}={position.metrics[self.monitor]:.4f}"
        target, beside = self.folder / name, self.folder / f".{name}.partial"
        beside.mkdir(parents=True)
        with open(beside / _VARIABLES, "wb") as file:
            np.savez(file, **{key: np.asarray(v) for key, v in _variables(model).items()})
            file.flush()
            os.fsync(file.fileno())
        record = asdict(position)
        with open(beside / _POSITION, "w", encoding="utf-8") as file:
            json.dump({**record, "sha256": _sha256(beside / _VARIABLES, record)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        if target.exists():
            shutil.rmtree(target)
        beside.rename(target)
        self._prune(target if keep else None)
        return target

    def restore(self, model: keras.Model, warn: Callable[[str], None] = print) -> Position | None:
        """Sets every variable of `model` and its optimizer from the newest sound checkpoint.

        A torn or altered one is named through `warn`, renamed to `damaged-...`, and the one before is taken.

        Returns:
            where the run stood, or None when there is no sound checkpoint.

        Raises:
            UserError: the checkpoint belongs to another model.
        """
        for path in reversed(self.paths()):
            record = self._record(path)
            if record is None or record.pop("sha256", None) != _sha256(path / _VARIABLES, record):
                # Left where it is, it would count as the newest and crowd out those written from here on.
                aside = path.with_name(f"damaged-{path.name}")
                shutil.rmtree(aside, ignore_errors=True)
                path.rename(aside)
                warn(f"{path}: damaged checkpoint, now {aside.name}; taking the one before")
                continue
            variables = _variables(model)
            with np.load(path / _VARIABLES) as stored:
                if set(stored.files) != set(variables):
                    odd = sorted(set(stored.files) ^ set(variables))
                    raise UserError(
                        f"{path}: made for another model ({len(odd)} variables differ, first {odd[0]}); "
                        "start a new run with exp_manager.name=..."
                    )
                for key, variable in variables.items():
                    variable.assign(stored[key])
            return Position(**record)
        return None

    def read(self, path: Path) -> tuple[Position, dict[str, np.ndarray]]:
        """The position and every value of one checkpoint.

        Raises:
            UserError: it is torn or altered.
        """
        record = self._record(path)
        if record is None or record.pop("sha256", None) != _sha256(path / _VARIABLES, record):
            raise UserError(f"{path}: damaged checkpoint; leave it out, or take others")
        with np.load(path / _VARIABLES) as stored:
            return Position(**record), dict(stored)

    def ranked(self) -> list[Path]:
        """The checkpoints that a validation with `monitor` belongs to, the best first."""
        values = {path: value for path in self.paths() if (value := self._value(path)) is not None}
        return sorted(values, key=values.__getitem__)

    def paths(self) -> list[Path]:
        """All checkpoints, the oldest first."""
        return sorted(p for p in self.folder.glob("step=*") if p.is_dir())

    def _record(self, path: Path) -> dict | None:
        try:
            record = json.loads((path / _POSITION).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None
        return record if isinstance(record, dict) else None

    def _value(self, path: Path) -> float | None:
        """What the checkpoint is ranked by, the lower the better."""
        record = self._record(path)
        if record is None or record.get("step_in_epoch") != 0:
            return None
        value = record["metrics"].get(self.monitor)
        if value is None:
            return None
        return math.inf if math.isnan(value) else value if self.mode == "min" else -value

    def _prune(self, spared: Path | None) -> None:
        if self.save_top_k < 0:
            return
        paths = self.paths()
        values = {path: value for path in paths if (value := self._value(path)) is not None}
        keep = set(sorted(values, key=values.__getitem__)[: self.save_top_k])
        if self.save_last or not keep:
            keep.add(paths[-1])
        for path in paths:
            if path not in keep and path != spared:
                shutil.rmtree(path)


def model_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """The variables of a model, by the names that they have in each of its checkpoints."""
    metric_variables = {id(v) for metric in model.metrics for v in metric.variables}
    variables = [v for v in model.variables if id(v) not in metric_variables]
    # Without paths, which the optimizer's names hold too: they may count the models that the process built before.
    return {f"model/{i}/{v.name}": v for i, v in enumerate(variables)}


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Every variable that a step reads, by a name that is the same in each run."""
    named = model_variables(model)
    if average := getattr(model, "weight_average", None):
        named |= {f"average/{i}/{v.name}": v for i, v in enumerate(average.variables)}
    return named | {f"optimizer/{i}": v for i, v in enumerate(model.optimizer.variables)}


def _sha256(file: Path, record: dict) -> str | None:
    """Checksum of a file and a record together; None without the file."""
    try:
        with open(file, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
    except OSError:
        return None
    digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()
