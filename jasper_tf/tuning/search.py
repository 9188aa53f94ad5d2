"""Hyperparameter search: trial after trial, in this process or by workers."""

from __future__ import annotations

import contextlib
import io
import json
import time
import traceback
from dataclasses import asdict
from pathlib import Path
from typing import Any

import grpc
import tensorflow as tf
import yaml
from keras_tuner.engine import base_tuner
from keras_tuner.engine import trial as trial_module

from jasper_tf.config import Config
from jasper_tf.config.flatten import differences
from jasper_tf.config.sections.tune_schema import TuneConfig
from jasper_tf.data.manifest.sections import data_key
from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.bounded_yaml import read_yaml
from jasper_tf.io.progress import clock
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.distributed.devices import choose_devices
from jasper_tf.tuning.oracles import COMPLETED, FAILED, IDLE, STOPPED, build_oracle
from jasper_tf.tuning.results import Outcome, Results
from jasper_tf.tuning.search_space import SearchSpace
from jasper_tf.tuning.trial_run import TrialError, TrialRun, is_complete
from jasper_tf.tuning.workers import ChiefConnection, chief_address, role, serve

# Keys that may change when a search resumes. The resolved configuration is compared, not its file name.
_FREE = ("config", "overrides", "output", "worker_timeout_s", "max_trials", "source")
_ALIKE_FAILURES = 3


class Search(base_tuner.BaseTuner):
    """Tuner of keras-tuner whose trials are runs of `training.trainer.train`.

    The folder `tune.output` holds a run's folder for each trial (`trial_0000`, ...), `results.csv`, `hparams/` for
    TensorBoard, `search.yaml` with the settings, and keras-tuner's state in `oracle/`. A search that is started again
    resumes: finished trials are kept, an interrupted one resumes from its checkpoint.

    Args:
        tune: settings of the search, from `load_tune_config`.

    Attributes:
        role: "alone", or "chief" or "worker" according to keras-tuner's environment variables.

    Raises:
        UserError: an error that would affect every trial.
    """

    def __init__(self, tune: TuneConfig):
        self.tune = tune
        self.space = SearchSpace(tune)
        self.role = role()
        if self.role == "chief":
            tf.config.set_visible_devices([], "GPU")  # leave them to workers on this machine
        self.output = Path(tune.output)
        base = self.space.base
        self._check(base)
        self._remember(base)
        self._results = Results(self.space, self.output, str(base.exp_manager.name))
        self._local = build_oracle(tune, self.space.hyperparameters())
        self._local.after_trial = self._after_trial
        with contextlib.redirect_stdout(io.StringIO()):  # "Reloading Tuner from ..."
            super().__init__(self._local, directory=tune.output, project_name="oracle")
        self._began, self._epochs_before = time.monotonic(), self._epochs_done()

    def search(self) -> Results:
        """Runs all trials; as a chief, hands them out; as a worker, asks the chief for them.

        Raises:
            UserError: an error that affects every trial; the disk is full; the chief or all workers are lost. Finished
                trials are kept.
            TrainingInterruptedError: a signal stopped a trial, which is saved.
        """
        try:
            if self.role == "worker":
                self._work_for_chief()
                return self._results
            self.save()
            if self._local.trials:
                self._after_trial()
            if self.role == "chief":
                serve(self._local, self.tune.worker_timeout_s, _say)
            else:
                self._run_trials()
            self.results().write()
        except OSError as error:
            name = error.filename or self.output
            raise UserError(f"{name}: {error.strerror or error}; the same command resumes from here") from error
        return self._results

    def results(self) -> Results:
        """Returns the trials so far; a worker has none."""
        if self.role != "worker":
            self._results.update([self._outcome(trial) for trial in self._local.trials.values()])
        return self._results

    def save(self):
        """Saves keras-tuner's state atomically."""
        if self.role != "worker":
            self._local.save()
        with atomic_write(self._get_tuner_fname()) as file:
            json.dump(self.get_state(), file)

    def run_trial(self, trial: trial_module.Trial, *fit_args: Any, **fit_kwargs: Any) -> float:
        """Trains or resumes one trial; returns its best value of the objective. Raises as `TrialRun.train`."""
        return self._run(trial).train()

    def _run_trials(self) -> None:
        reasons: list[str] = []
        while True:
            trial = self.oracle.create_trial(self.tuner_id)
            if trial.status == STOPPED:
                break
            if trial.status == IDLE:
                time.sleep(1.0)
                continue
            outcome = self._outcome(trial)
            values = "  ".join(f"{key}={json.dumps(value)}" for key, value in outcome.values.items())
            _say(f"{outcome.name}, of {self._local.total_trials()} trials: {values}")
            began = time.monotonic()
            folder = Path(self.get_trial_dir(trial.trial_id))
            try:
                outcome.value, outcome.status = self.run_trial(trial), "completed"
                self.oracle.update_trial(trial.trial_id, {self.tune.objective: outcome.value})
                trial.status = COMPLETED
            except TrialError as error:
                outcome.status, outcome.reason = "failed", str(error)
                trial.status, trial.message = FAILED, str(error)
                with atomic_write(folder / "failure.txt") as file:
                    file.writelines(traceback.format_exception(error.__cause__ or error))
                _say(f"{outcome.name} failed: {error}")
            outcome.seconds = time.monotonic() - began
            with atomic_write(folder / "outcome.json") as file:
                json.dump(asdict(outcome), file, indent=1)
            self.oracle.end_trial(trial)
            reasons.append(outcome.reason)
            if len(reasons) == _ALIKE_FAILURES and all(reasons) and len(set(reasons)) == 1:
                raise UserError(f"the first {_ALIKE_FAILURES} trials all failed alike: {reasons[0]}")

    def _work_for_chief(self) -> None:
        self.oracle = ChiefConnection(self._local, self.tune.worker_timeout_s)
        try:
            self._run_trials()
        except grpc.RpcError as error:
            code = error.code().name if hasattr(error, "code") else type(error).__name__
            raise UserError(
                f"the chief at {chief_address()} does not answer ({code}); start it and this worker again; "
                "finished trials are kept"
            ) from error
        finally:
            self.oracle.close()

    def _check(self, base: Config) -> None:
        """Finds errors that would affect every trial, before anything is trained."""
        tune, trainer = self.tune, base.trainer
        base.require(*(data_key(base, section) for section in ("train_ds", "validation_ds")))
        if trainer.max_epochs is None and trainer.max_steps == -1 and not tune.max_epochs:
            raise tune.source.error(("config",), f"{tune.config} sets no trainer.max_epochs; give max_epochs here")
        if trainer.num_nodes > 1:
            raise UserError(
                f"{base.source}: trainer.num_nodes: a trial runs on one machine; set 1, and start workers for several"
            )
        if trainer.fast_dev_run:
            raise UserError(f"{base.source}: trainer.fast_dev_run: not possible in a search; run train.py with it")
        wanted = base.exp_manager.create_checkpoint_callback
        if not (trainer.enable_checkpointing if wanted is None else wanted):
            raise UserError(f"{base.source}: a search needs checkpoints; set trainer.enable_checkpointing=true")
        if self.role != "chief":  # a chief trains nothing and may lack the data
            choose_devices(trainer.accelerator, trainer.devices)
            for section in ("train_ds", "validation_ds") if is_complete(base) else ():
                build_batches(base, section)

    def _remember(self, base: Config) -> None:
        """Writes search.yaml, or compares with the one of a search that resumes."""
        file = self.output / "search.yaml"
        now = json.loads(json.dumps({"search": _asked(self.tune), "configuration": base.to_dict()}))
        if file.exists():
            before = read_yaml(file, what="search")
            for key, old, new in differences(before, now):
                raise UserError(
                    f"{file}: this search began with {key}={old}, now it is {new}; set another output, or the old value"
                )
            return
        if self.output.exists() and any(not p.name.startswith(".") for p in self.output.iterdir()):
            raise UserError(f"{self.output}: not empty and not the folder of a search; set another output")
        self.output.mkdir(parents=True, exist_ok=True)
        with atomic_write(file) as stream:
            yaml.safe_dump(now, stream, sort_keys=False, allow_unicode=True)

    def _get_tuner_fname(self):
        # The same file with and without a chief.
        return str(Path(self.project_dir) / f"{self.tuner_id if self.role == 'worker' else 'tuner'}.json")

    def _after_trial(self) -> None:
        self.results().write()
        self._say_progress()

    def _say_progress(self) -> None:
        ended = [t for t in self._local.trials.values() if t.status in (COMPLETED, FAILED)]
        failed = sum(t.status == FAILED for t in ended)
        text = f"search: {len(ended)} of {self._local.total_trials()} trials done"
        if failed:
            text += f", {failed} failed"
        if best := self._results.best:
            text += f"; best {self.tune.objective} {best.value:.4f} ({best.name})"
        done = self._epochs_done()
        if worked := done - self._epochs_before:
            length = self.tune.max_epochs or self.space.base.trainer.max_epochs or 1
            left = self._local.total_epochs(length) - done
            text += f"; {clock((time.monotonic() - self._began) / worked * left)} left"
        _say(text)

    def _epochs_done(self) -> int:
        ended = (t for t in self._local.trials.values() if t.status in (COMPLETED, FAILED))
        return sum(self._run(t).new_epochs for t in ended)

    def _run(self, trial: trial_module.Trial) -> TrialRun:
        return TrialRun(self.space, trial.trial_id, trial.hyperparameters.values)

    def _outcome(self, trial: trial_module.Trial) -> Outcome:
        """Returns the result of a trial, from the oracle and from the files of its worker if the folder is shared."""
        run = self._run(trial)
        status = {COMPLETED: "completed", FAILED: "failed"}.get(trial.status, "running")
        outcome = Outcome(name=run.name, status=status, values=run.values, epochs=run.epochs, continues=run.continues)
        if status == "running":
            return outcome
        outcome.reason = trial.message or ""
        outcome.value = trial.score if status == "completed" else None
        with contextlib.suppress(OSError, ValueError, KeyError):
            file = Path(self.get_trial_dir(trial.trial_id)) / "outcome.json"
            left = json.loads(file.read_text(encoding="utf-8"))
            outcome.seconds, outcome.reason = left["seconds"], left["reason"]
            if status == "completed":
                outcome.value = left["value"]  # with all digits; the message to the oracle is rounded
        return outcome


def _asked(tune: TuneConfig) -> dict[str, Any]:
    return {key: value for key, value in asdict(tune).items() if key not in _FREE}


def _say(text: str) -> None:
    print(text, flush=True)
