"""Training run of one trial."""

from __future__ import annotations

import csv
import gc
import json
import math
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import yaml

from jasper_tf.config import Config
from jasper_tf.config.sections.optim_schema import SCHEDULES
from jasper_tf.errors import DivergedError, UserError
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.training.callbacks.interruption import TrainingInterruptedError
from jasper_tf.training.distributed.devices import choose_devices
from jasper_tf.training.run.place import run_path
from jasper_tf.training.run_data import RunData, read_data
from jasper_tf.training.trainer import compile_model, train
from jasper_tf.tuning.search_space import SearchSpace

_SCHED = "model.optim.sched"
_WARMUP_SHARE = 0.1
"""Of a trial, where the warm-up does not even fit into the whole training of the configuration."""


class TrialError(Exception):
    """A trial failed without affecting other trials; the message is the reason."""


class TrialRun:
    """Trains one trial in the folder of its search.

    With Hyperband the learning-rate schedule has the length of the longest trial: a trial that continues another one
    copies its run, and gives the result of an uninterrupted training.

    Args:
        space: what the search varies.
        trial_id: keras-tuner's.
        chosen: keras-tuner's values of the trial.

    Attributes:
        name: of the run, `trial_0000`.
        values: by key of the space.
        epochs: of the trial.
        new_epochs: those that no earlier trial has trained.
        continues: the name of the trial that it continues, or None.
    """

    def __init__(self, space: SearchSpace, trial_id: str, chosen: Mapping[str, Any]):
        self.space = space
        self.name = _name(trial_id)
        self.values = space.values(chosen)
        # If only trainer.max_steps limits the trials, all are equally long and count as one epoch.
        length = space.tune.max_epochs or space.base.trainer.max_epochs or 1
        self.epochs = int(chosen.get("tuner/epochs", length))
        self.new_epochs = self.epochs - int(chosen.get("tuner/initial_epoch", 0))
        earlier = chosen.get("tuner/trial_id")
        self.continues = None if earlier is None else _name(earlier)

    def config(self) -> Config:
        """Returns the resolved configuration of the trial.

        Raises:
            UserError: its values contradict each other.
        """
        return self._config(self.values)

    def _config(self, values: Mapping[str, Any]) -> Config:
        tune = self.space.tune
        own = [
            f"exp_manager.exp_dir={json.dumps(tune.output)}",
            f"exp_manager.name={self.name}",
            "exp_manager.version=null",
            "exp_manager.resume_if_exists=true",
            *self.space.monitor(),
        ]
        if tune.max_epochs:
            own += [f"trainer.max_epochs={self.epochs}", "trainer.max_steps=-1"]
        if tune.tuner == "hyperband":
            own += ["trainer.check_val_every_n_epoch=1"]  # its first rounds are short
        cfg = load_config(tune.config, [*self.space.overrides(values), *own])
        if cfg.trainer.max_epochs:  # its last epoch is validated
            cfg.trainer.check_val_every_n_epoch = min(cfg.trainer.check_val_every_n_epoch, cfg.trainer.max_epochs)
        sched = cfg.model.optim.sched
        if tune.tuner == "hyperband" and sched is not None and "max_steps" in SCHEDULES[sched.name]:
            sched.max_steps = sched.max_steps or _data(cfg).training.total_steps(tune.max_epochs or 0)
        if not _varies_schedule(values):
            self._shorten_warmup(cfg)
        return cfg

    def _shorten_warmup(self, cfg: Config) -> None:
        """Gives a warm-up that is longer than the trial the share of it that it has of the whole training."""
        sched = cfg.model.optim.sched
        if sched is None or not sched.warmup_steps:
            return
        steps = sched.max_steps or _data(cfg).total_steps
        if sched.warmup_steps >= steps:
            whole = steps * (self.space.base.trainer.max_epochs or 0) / (self.space.tune.max_epochs or self.epochs)
            share = sched.warmup_steps / whole if sched.warmup_steps < whole else _WARMUP_SHARE
            sched.warmup_steps = int(share * steps)

    def _say_what_is_shorter(self, cfg: Config) -> None:
        base = self.space.base
        changes = []
        own, sched = base.model.optim.sched, cfg.model.optim.sched
        if own and sched and not _varies_schedule(self.values):
            changes.append((f"{_SCHED}.warmup_steps", sched.warmup_steps, own.warmup_steps))
        if self.space.tune.tuner != "hyperband":  # which validates after every epoch, whatever is given
            key = "check_val_every_n_epoch"
            changes.append((f"trainer.{key}", getattr(cfg.trainer, key), getattr(base.trainer, key)))
        for key, value, given in changes:
            if value != given:
                print(f"{self.name}: {key}={value} in place of {given}, which is longer than the trial")

    def train(self) -> float:
        """Trains or resumes the run; returns the best value of the objective.

        Raises:
            TrialError: it failed, and other trials may succeed.
            UserError: it failed for a reason that affects every trial.
            OSError: likewise, such as a full disk.
            TrainingInterruptedError: a signal stopped it; it can resume.
        """
        try:
            cfg = self.config()
        except UserError as error:
            raise TrialError(f"the values contradict each other: {error}") from error
        _forget()
        self._say_what_is_shorter(cfg)
        try:
            self._take_over(cfg)
            run = Path(train(cfg))
        except DivergedError as error:
            raise TrialError(str(error)) from error
        except UserError as error:
            if self._is_rejected(self.values) and not self._is_rejected({}):
                raise TrialError(str(error)) from error
            raise
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            raise TrialError(f"out of memory: {_first_line(error)}") from error
        except (OSError, TrainingInterruptedError):
            raise
        except Exception as error:
            reason = f"{type(error).__name__}: {_first_line(error)}"
            if self._is_rejected({}):
                raise UserError(f"{self.space.base.source}: cannot be trained: {reason}") from error
            raise TrialError(reason) from error
        _forget()
        return best_value(run, self.space.tune.objective)

    def _take_over(self, cfg: Config) -> None:
        """Copies the run of the trial that this one continues, unless this one has started."""
        run = run_path(cfg)
        if self.continues is None or run.exists():
            return
        source = run.with_name(self.continues)
        if not (source / "checkpoints").is_dir():
            print(f"{source} is not on this machine; {run.name} starts at its first epoch, with the same result")
            return
        temporary = run.with_name(f".{run.name}.partial")
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.copytree(source, temporary)
        with atomic_write(temporary / "config.yaml") as file:
            yaml.safe_dump(cfg.to_dict(), file, sort_keys=False, allow_unicode=True)
        temporary.rename(run)

    def _is_rejected(self, values: Mapping[str, Any]) -> bool:
        """Returns whether data, model or schedule reject these values of the space; {} for the base configuration."""
        _forget()
        try:
            cfg = self._config(values)
            if not is_complete(cfg):
                return False  # incomplete without the values of a trial
            data = _data(cfg)
            compile_model(build_model(cfg), cfg, data.total_steps, data.training.steps_per_epoch)
        except Exception:
            return True
        return False


def full_length_overrides(space: SearchSpace, values: Mapping[str, Any]) -> list[str]:
    """Returns the overrides without which a trial's configuration cannot be trained in full length.

    They are a warm-up in place of one that is longer than this training, and the epochs of a trial where the
    configuration gives no length.
    """
    trainer, found = space.base.trainer, []
    if trainer.max_epochs is None and trainer.max_steps == -1 and space.tune.max_epochs:
        found.append(f"trainer.max_epochs={space.tune.max_epochs}")
    if _varies_schedule(values):
        return found
    try:
        cfg = load_config(space.tune.config, [*space.overrides(values), *found])
        sched = cfg.model.optim.sched
        if sched is not None and sched.warmup_steps:
            steps = sched.max_steps or _data(cfg).total_steps
            if sched.warmup_steps >= steps:
                found.append(f"{_SCHED}.warmup_steps={int(_WARMUP_SHARE * steps)}")
    except UserError:  # the trial failed for it
        pass
    return found


def is_complete(cfg: Config) -> bool:
    """Returns whether a configuration describes its model without the values of a trial."""
    try:
        cfg.require(cfg.model.labels_key, "model.preprocessor", "model.encoder", "model.decoder")
    except UserError:
        return False
    return True


def _varies_schedule(values: Mapping[str, Any]) -> bool:
    return any(key.startswith(_SCHED) for key in values)


def _forget() -> None:
    """Resets the global state of Keras after a training, and frees models and files in reference cycles."""
    keras.backend.clear_session()
    gc.collect()


def _data(cfg: Config) -> RunData:
    return read_data(cfg, len(choose_devices(cfg.trainer.accelerator, cfg.trainer.devices)))


def best_value(run: Path, objective: str) -> float:
    """Returns the lowest value of `objective` (such as val_wer) in a run's metrics.csv.

    Raises:
        TrialError: there is none, or the training diverged.
    """
    with open(run / "metrics.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for row in rows:
        if row["loss"] and not math.isfinite(float(row["loss"])):
            raise TrialError(f"diverged: the loss is {row['loss']} at step {row['step']}")
    values = [float(row[objective]) for row in rows if row[objective]]
    values = [value for value in values if math.isfinite(value)]
    if not values:
        raise TrialError(f"no {objective} in {run / 'metrics.csv'}")
    return min(values)


def _name(trial_id: str) -> str:
    # keras-tuner's ids have as many digits as max_trials, which may be raised.
    return f"trial_{int(trial_id):04d}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or ["no message"])[0][:300]
