"""Oracles of keras-tuner, which choose the values of trials, made safe to interrupt."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras_tuner
import numpy as np
from keras_tuner.engine import trial as trial_module

from jasper_tf.config.sections.tune_schema import TuneConfig
from jasper_tf.io.atomic_write import atomic_write

IDLE, RUNNING, STOPPED, COMPLETED, FAILED = (
    getattr(trial_module.TrialStatus, name) for name in ("IDLE", "RUNNING", "STOPPED", "COMPLETED", "FAILED")
)


class SteadyOracle(keras_tuner.Oracle):
    """An oracle whose search resumes as if it had not been interrupted.

    - Files are written atomically.
    - After a restart, a trial whose run never began is dropped, an interrupted one is handed out again, and a finished
      one is not.
    - No worker is dismissed while the trial of another one is running: that worker may be lost.

    Attributes:
        after_trial: called without arguments at the end of each trial.
    """

    after_trial: Callable[[], None] = staticmethod(lambda: None)
    trials: dict[str, Any]  # keras-tuner's

    def total_trials(self) -> int:
        """Returns the number of trials of the whole search."""
        return self.max_trials

    def total_epochs(self, trial_epochs: int) -> int:
        """Returns the epochs of the whole search; `trial_epochs`: length of a trial, unless the oracle sets it."""
        return self.total_trials() * trial_epochs

    @keras_tuner.synchronized
    def create_trial(self, tuner_id):
        trial = super().create_trial(tuner_id)
        if trial.status == STOPPED and self.ongoing_trials:
            trial.status = IDLE
            self.tuner_ids.add(tuner_id)
        return trial

    def end_trial(self, trial):
        self._end_trial(trial)
        self.after_trial()

    @keras_tuner.synchronized
    def _end_trial(self, trial):
        super().end_trial(trial)
        # After a restart of the chief, a worker may end a trial that is queued to be handed out again.
        if trial.trial_id in self._retry_queue:
            self._retry_queue.remove(trial.trial_id)
        self.save()  # again, without the trial among the ongoing ones

    @keras_tuner.synchronized
    def requeue(self, tuner_id: str) -> str | None:
        """Queues the trial of a lost worker for the next one that asks; returns the trial's id."""
        self.tuner_ids.discard(tuner_id)
        trial = self.ongoing_trials.pop(tuner_id, None)
        if trial is None:
            return None
        self._retry_queue.append(trial.trial_id)
        self.save()
        return trial.trial_id

    def save(self):
        _write_json(self._get_oracle_fname(), self.get_state())

    def _save_trial(self, trial):
        _write_json(Path(self._get_trial_dir(trial.trial_id)) / "trial.json", trial.get_state())

    def reload(self):
        super().reload()
        self.trials = {trial_id: self.trials[trial_id] for trial_id in self.start_order}
        unfinished = (i for i, trial in self.trials.items() if trial.status not in (COMPLETED, FAILED))
        self._retry_queue = list(unfinished)[::-1]  # keras-tuner takes from its end


class RandomOracle(SteadyOracle, keras_tuner.oracles.RandomSearchOracle):
    """Random search of keras-tuner."""


class BayesianOracle(SteadyOracle, keras_tuner.oracles.BayesianOptimizationOracle):
    """Bayesian optimization of keras-tuner, reproducible after a restart and without repeated trials."""

    def populate_space(self, trial_id):
        # keras-tuner does not save its random state with the search.
        self._random_state = np.random.RandomState([self.seed, len(self.trials)])
        chosen = super().populate_space(trial_id)
        if chosen["values"] and self._duplicate(chosen["values"]):
            return self._random_populate_space()
        return chosen


class HyperbandOracle(SteadyOracle, keras_tuner.oracles.HyperbandOracle):
    """Hyperband of keras-tuner."""

    def total_trials(self) -> int:
        return sum(size for size, _ in self._rounds()) * self.hyperband_iterations

    def total_epochs(self, trial_epochs: int) -> int:
        """Returns the epochs of the whole search; the trials of a round continue those of the round before."""
        return sum(size * epochs for size, epochs in self._rounds()) * self.hyperband_iterations

    def _rounds(self) -> list[tuple[int, int]]:
        """Lists (trials, epochs added by each) for all rounds of all brackets."""
        return [
            (self._get_size(b, r), self._get_epochs(b, r) - (self._get_epochs(b, r - 1) if r else 0))
            for b in range(self._get_num_brackets())
            for r in range(self._get_num_rounds(b))
        ]


def build_oracle(tune: TuneConfig, space: keras_tuner.HyperParameters) -> SteadyOracle:
    """Builds the oracle for `tune.tuner`.

    Raises:
        UserError: the packages that bayesian needs are not installed.
    """
    common: dict[str, Any] = dict(
        objective=keras_tuner.Objective(tune.objective, "min"),
        hyperparameters=space,
        # keras-tuner takes 0 for no seed, and counts up from the seed: adjacent seeds would choose the same values.
        seed=(tune.seed * 100_003) % 2**31 + 1,
        max_consecutive_failed_trials=None,  # `Search` decides when to stop
    )
    try:
        if tune.tuner == "hyperband":
            oracle = HyperbandOracle(
                max_epochs=tune.max_epochs,
                factor=tune.factor,
                hyperband_iterations=tune.hyperband_iterations,
                **common,
            )
        else:
            kind = RandomOracle if tune.tuner == "random" else BayesianOracle
            oracle = kind(max_trials=tune.max_trials, **common)
    except ImportError:
        raise tune.source.error(
            ("tuner",), "bayesian needs scikit-learn and scipy: pip install 'keras-tuner[bayesian]', or use random"
        ) from None
    oracle.verbose = 0
    return oracle


def _write_json(path: str | Path, state: Any) -> None:
    with atomic_write(path) as file:
        json.dump(state, file)
