"""Checkpoints of a training run."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import shutil
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from jasper_tf.errors import DivergedError, UserError
from jasper_tf.io.atomic_write import sync_folder
from jasper_tf.training.run.training_state import TrainingState, are_numbers

STATE_FILE = "position.json"
"""Written last: with it a checkpoint is complete."""
_VARIABLES = "variables.npz"
_NAME = re.compile(r"step=(\d+)")


class CheckpointManager:
    """Saves, restores and prunes the checkpoints of one run, from which it resumes exactly.

    A checkpoint is a folder with the variables of the model (weights, running statistics, the states of dither, masks
    and dropout) and of the optimizer, the training state, and a checksum. It is written under a hidden name and
    renamed, and renamed before it is deleted, so a named checkpoint is always complete. Hidden folders that a killed
    process left are deleted at the next start or save.

    Args:
        folder: of the checkpoints; created with the first.
        monitor: the metric that `save_top_k` ranks by.
        save_top_k: number of best checkpoints to keep; -1 keeps all.
        save_last: keep the newest too.
        mode: "min" if a lower value of the metric is better, else "max".
        on_save: called when a checkpoint is complete and older ones are removed.
    """

    def __init__(
        self,
        folder: str | Path,
        monitor: str = "val_wer",
        save_top_k: int = 3,
        save_last: bool = True,
        mode: str = "min",
        on_save: Callable[[], None] = lambda: None,
    ):
        self.folder = Path(folder)
        self.on_save = on_save
        self.monitor = monitor
        self.save_top_k = save_top_k
        self.save_last = save_last
        self.mode = mode

    def save(self, model: keras.Model, state: TrainingState, keep: bool = False) -> Path:
        """Saves a checkpoint, then deletes those that are neither among the best nor the newest.

        Args:
            model: built, with its optimizer.
            state: of the run.
            keep: keep this one until the next is saved, whatever its rank.

        Raises:
            DivergedError: a value of the model or the optimizer is not finite; earlier checkpoints are unchanged.
            UserError: it cannot be written, for example because the disk is full; earlier checkpoints are unchanged.
        """
        try:
            saved = self._save(model, state, keep)
        except DivergedError:
            self._remove_left_overs()
            raise
        except OSError as error:
            self._remove_left_overs()
            raise UserError(
                f"{self.folder}: the checkpoint of step {state.step} cannot be written ({error.strerror or error}); "
                "make room, then the same command resumes from the one before"
            ) from error
        self.on_save()
        return saved

    def _save(self, model: keras.Model, state: TrainingState, keep: bool) -> Path:
        self._remove_left_overs()
        name = f"step={state.step:08d}"
        if self.monitor in state.metrics and state.step_in_epoch == 0:
            name += f"-{self.monitor}={state.metrics[self.monitor]:.4f}"
        target, temporary = self.folder / name, self.folder / f".{name}.partial"
        temporary.mkdir(parents=True)
        with open(temporary / _VARIABLES, "wb") as file:
            # Like np.savez, which leaves the archive open on a full disk and prints a traceback when it is deleted.
            with zipfile.ZipFile(file, "w") as archive:
                for key, variable in _variables(model).items():
                    values = require_finite(variable, key, state.step)
                    with archive.open(f"{key}.npy", "w", force_zip64=True) as entry:
                        np.lib.format.write_array(entry, values, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        record = asdict(state)
        with open(temporary / STATE_FILE, "w", encoding="utf-8") as file:
            json.dump({**record, "sha256": _sha256(temporary / _VARIABLES, record)}, file, indent=1)
            file.flush()
            os.fsync(file.fileno())
        sync_folder(temporary)
        replaced = _hidden(target) if target.exists() else None
        temporary.rename(target)
        sync_folder(self.folder)
        if replaced:
            shutil.rmtree(replaced, ignore_errors=True)
        self._prune(target if keep else None)
        return target

    def restore(
        self, model: keras.Model, warn: Callable[[str], None] = print, writes: bool = True
    ) -> TrainingState | None:
        """Restores every variable of `model` and its optimizer from the newest intact checkpoint.

        The newest damaged checkpoint is renamed to `damaged-...`, older damaged ones are deleted.

        Args:
            model: built, with its optimizer.
            warn: gets a line for each damaged checkpoint.
            writes: False changes nothing in the folder: another machine does.

        Returns:
            the state of the run, or None when there is no checkpoint.

        Raises:
            UserError: all checkpoints are damaged, or the newest intact one is of another model or version.
        """
        damaged: list[Path] = []
        for path in reversed(self.paths()):
            record = self._read_intact(path)
            if record is not None:
                break
            damaged.append(path)
        else:
            record = None
        if damaged and record is None:
            raise UserError(
                f"{self.folder}: no intact checkpoint, {len(damaged)} damaged; put one back, remove the folder to "
                "start at step 0, or start a new run with exp_manager.name=..."
            )
        if writes:
            self._remove_left_overs()
            self._set_aside(damaged, warn)
        if record is None:
            return None
        state = _state(path, record)
        variables = _variables(model)
        with _open_variables(path) as stored:
            odd = sorted(set(stored) ^ set(variables))
            odd += [key for key in variables if key in stored and stored[key].shape != tuple(variables[key].shape)]
            if odd:
                raise UserError(
                    f"{path}: made for another model ({len(odd)} variables differ, first {odd[0]}); "
                    "start a new run with exp_manager.name=..."
                )
            for key, variable in variables.items():
                variable.assign(stored[key])
        return state

    def read(self, path: Path) -> tuple[TrainingState, dict[str, np.ndarray]]:
        """Reads the state and all values of one checkpoint.

        Raises:
            UserError: it is damaged.
        """
        record = self._read_intact(path)
        if record is None:
            raise UserError(f"{path}: damaged checkpoint; leave it out")
        with _open_variables(path) as stored:
            return _state(path, record), dict(stored)

    def ranked(self) -> list[Path]:
        """Lists the checkpoints with a value of `monitor`, the best first."""
        values = {path: value for path in self.paths() if (value := self._value(path)) is not None}
        return sorted(values, key=values.__getitem__)

    def paths(self) -> list[Path]:
        """Lists all checkpoints, the oldest first."""
        found = [
            (int(match[1]), path)
            for path in self.folder.glob("step=*")
            if (match := _NAME.match(path.name)) and path.is_dir()
        ]
        return [path for _, path in sorted(found)]

    def _read_intact(self, path: Path) -> dict | None:
        """Reads position.json; None if it, the variables or their checksum is damaged."""
        record = _record(path)
        if record is None:
            return None
        stated, found = record.pop("sha256", None), _sha256(path / _VARIABLES, record)
        return record if found is not None and stated == found else None

    def _value(self, path: Path) -> float | None:
        """Returns the value that ranks a checkpoint, the lower the better."""
        record = _record(path) or {}
        metrics = record.get("metrics", {})
        if record.get("step_in_epoch") != 0 or not are_numbers(metrics) or self.monitor not in metrics:
            return None
        value = metrics[self.monitor]
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
                shutil.rmtree(_hidden(path), ignore_errors=True)

    def _set_aside(self, damaged: Sequence[Path], warn: Callable[[str], None]) -> None:
        # Under its name it would count as the newest, and newer ones would be pruned.
        for path in damaged:  # the newest first
            if path == damaged[0]:
                for older in self.folder.glob("damaged-step=*"):
                    shutil.rmtree(_hidden(older), ignore_errors=True)
                path.rename(path.with_name(f"damaged-{path.name}"))
                warn(f"{path}: damaged checkpoint, renamed to damaged-{path.name}; using the one before")
            else:
                shutil.rmtree(_hidden(path), ignore_errors=True)
                warn(f"{path}: damaged checkpoint, removed; using the one before")

    def _remove_left_overs(self) -> None:
        for kind in ("partial", "removed"):
            for left_over in self.folder.glob(f".*step=*.{kind}"):
                shutil.rmtree(left_over, ignore_errors=True)


def model_variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Maps the names in a checkpoint to the variables of a model."""
    metric_variables = {id(v) for metric in model.metrics for v in metric.variables}
    variables = [v for v in model.variables if id(v) not in metric_variables]
    # Not by path: paths may count the models that the process built before.
    return {f"model/{i}/{v.name}": v for i, v in enumerate(variables)}


def require_finite(variable: keras.Variable, name: str, step: int) -> np.ndarray:
    """Returns the values of `variable`.

    Raises:
        DivergedError: one of them is NaN or infinite; names the variable and the step.
    """
    values = np.asarray(variable)
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        raise DivergedError(
            f"step {step}: NaN or infinite values in {name}, nothing is saved; what was saved before stays; "
            "lower model.optim.lr or weight_decay, lengthen the warm-up, or set trainer.gradient_clip_val"
        )
    return values


def _variables(model: keras.Model) -> dict[str, keras.Variable]:
    """Maps the names in a checkpoint to all variables that a step reads."""
    named = model_variables(model)
    if moving_average := getattr(model, "moving_average", None):
        named |= {f"average/{i}/{v.name}": v for i, v in enumerate(moving_average.variables)}
    return named | {f"optimizer/{i}": v for i, v in enumerate(model.optimizer.variables)}


@contextmanager
def _open_variables(path: Path) -> Iterator[Mapping[str, np.ndarray]]:
    """The values of a checkpoint by name, each read on access.

    The checksum reveals damage, not the variables of another program: those end in a UserError here.
    """
    file = path / _VARIABLES
    try:
        with zipfile.ZipFile(file) as archive:
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
                raise ValueError("it is compressed")
        with np.load(file) as stored:
            yield stored
    except UserError:
        raise
    except (zipfile.BadZipFile, OSError, EOFError, LookupError, ValueError, RuntimeError, MemoryError) as error:
        raise UserError(
            f"{file}: another program wrote it ({str(error)[:200] or type(error).__name__}); remove the checkpoint, or "
            "start a new run with exp_manager.name=..."
        ) from None


def _hidden(path: Path) -> Path:
    """Renames a checkpoint before it is deleted: a kill inside rmtree then leaves only a hidden folder."""
    return path.rename(path.with_name(f".{path.name}.removed"))


def _state(path: Path, record: dict) -> TrainingState:
    try:
        return TrainingState.from_record(record)
    except ValueError as error:
        raise UserError(
            f"{path / STATE_FILE}: {error}, written by another version; remove the checkpoint, or start a new run "
            "with exp_manager.name=..."
        ) from None


def _record(path: Path) -> dict | None:
    """Reads position.json with its checksum; None if it is damaged or missing."""
    file = path / STATE_FILE
    try:
        record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else None
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); run the same command when it can be") from error
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def _sha256(file: Path, record: dict) -> str | None:
    """Returns the checksum of a file and a record together; None without the file."""
    if not file.is_file():
        return None
    try:
        with open(file, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256")
    except OSError as error:
        raise UserError(f"{file}: cannot be read ({error.strerror}); run the same command when it can be") from error
    digest.update(json.dumps(record, sort_keys=True).encode())
    return digest.hexdigest()
