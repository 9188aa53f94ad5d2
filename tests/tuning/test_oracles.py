"""The oracles: stopped anywhere and started again, they choose the same trials."""

import math
import shutil

import pytest

from jasper_tf.config.sections.tune_schema import load_tune_config
from jasper_tf.tuning.oracles import COMPLETED, FAILED, IDLE, STOPPED, build_oracle
from jasper_tf.tuning.search_space import SearchSpace

SETTINGS = {
    "random": {"tuner": "random", "max_trials": 7},
    "bayesian": {"tuner": "bayesian", "max_trials": 8},
    "hyperband": {"tuner": "hyperband", "max_trials": None, "max_epochs": 4, "factor": 2},
}
SPACE = {
    "model.optim.lr": {"type": "float", "min": 0.001, "max": 0.1, "sampling": "log"},
    "model.encoder.jasper.*.dropout": {"type": "choice", "values": [0.0, 0.1, 0.2]},
}


@pytest.fixture(params=SETTINGS)
def new_oracle(request, write_tune, tmp_path):
    """`new_oracle(folder)`: an oracle as a process finds it that is started on that folder."""
    tune = load_tune_config(write_tune(tmp_path, space=SPACE, **SETTINGS[request.param]))
    space = SearchSpace(tune)

    def new(folder):
        oracle = build_oracle(tune, space.hyperparameters())
        oracle._set_project_dir(str(folder), "oracle")
        if (folder / "oracle" / "oracle.json").exists():
            oracle.reload()
        return oracle

    return new


def finish(oracle, trial):
    """A bowl with its bottom at a rate of 0.02; one corner of the space always fails."""
    values = trial.hyperparameters.values
    if values["model.encoder.jasper.*.dropout"] == "0.2" and values["model.optim.lr"] > 0.03:
        trial.status = FAILED
    else:
        score = abs(math.log(values["model.optim.lr"] / 0.02)) + float(values["model.encoder.jasper.*.dropout"])
        oracle.update_trial(trial.trial_id, {"val_wer": score / values.get("tuner/epochs", 1)})
        trial.status = COMPLETED
    oracle.end_trial(trial)


def run(oracle):
    while (trial := oracle.create_trial("tuner0")).status != STOPPED:
        finish(oracle, trial)


def record(oracle):
    trials = {name: (t.status, t.score, t.hyperparameters.values) for name, t in oracle.trials.items()}
    return trials, oracle.start_order


@pytest.mark.slow
def test_stopped_anywhere_it_chooses_the_same(new_oracle, tmp_path):
    whole = new_oracle(tmp_path / "whole")
    run(whole)
    assert whole.total_trials() >= len(whole.trials) > 5
    folder = tmp_path / "stopped"
    step = 0
    while True:
        oracle = new_oracle(folder)
        state = folder / "oracle" / "oracle.json"
        if step % 3 == 0 and state.exists():  # killed before the new trial was in oracle.json
            before = state.read_bytes()
            stopped = oracle.create_trial("tuner0").status == STOPPED
            state.write_bytes(before)
        else:  # killed while the trial runs, then after it
            trial = oracle.create_trial("tuner0")
            stopped = trial.status == STOPPED
            if step % 3 == 2 and not stopped:
                finish(oracle, trial)
        if stopped:
            break
        step += 1
    assert record(oracle) == record(whole)


def test_a_finished_trial_is_not_given_out_again(new_oracle, tmp_path):
    """Killed between the two files that hold a trial's end."""
    oracle = new_oracle(tmp_path)
    trial = oracle.create_trial("tuner0")
    state = tmp_path / "oracle" / "oracle.json"
    before = state.read_bytes()
    finish(oracle, trial)
    state.write_bytes(before)
    again = new_oracle(tmp_path)
    assert again.create_trial("tuner0").trial_id != trial.trial_id


def test_a_lost_worker_s_trial_goes_to_the_next(new_oracle, tmp_path):
    oracle = new_oracle(tmp_path)
    lost, other = oracle.create_trial("worker0"), oracle.create_trial("worker1")
    assert oracle.requeue("worker0") == lost.trial_id and oracle.requeue("worker0") is None
    finish(oracle, other)
    assert oracle.create_trial("worker1").trial_id == lost.trial_id
    # The lost one was only slow, and reports: nothing is given out twice.
    assert oracle.requeue("worker1") == lost.trial_id
    finish(oracle, lost)
    assert oracle.create_trial("worker2").trial_id not in (lost.trial_id, other.trial_id)


def test_no_worker_is_dismissed_while_a_trial_is_running(new_oracle, tmp_path):
    oracle = new_oracle(tmp_path)
    last = oracle.create_trial("worker0")
    while (trial := oracle.create_trial("worker1")).status not in (STOPPED, IDLE):
        finish(oracle, trial)
    assert trial.status == IDLE
    finish(oracle, last)
    while (trial := oracle.create_trial("worker1")).status != STOPPED:
        finish(oracle, trial)


def test_no_file_is_left_torn(new_oracle, tmp_path, monkeypatch):
    import json

    oracle = new_oracle(tmp_path)
    oracle.create_trial("tuner0")
    before = shutil.copytree(tmp_path / "oracle", tmp_path / "before")

    def torn(state, file):
        file.write('{"half')
        raise OSError("disk full")

    monkeypatch.setattr(json, "dump", torn)
    with pytest.raises(OSError, match="disk full"):
        oracle.save()
    assert (before / "oracle.json").read_bytes() == (tmp_path / "oracle" / "oracle.json").read_bytes()


def test_bayesian_does_not_repeat_itself(write_tune, tmp_path):
    space = {"model.encoder.jasper.*.dropout": {"type": "choice", "values": [0.0, 0.1, 0.2, 0.3, 0.4]}}
    tune = load_tune_config(write_tune(tmp_path, space=space, tuner="bayesian", max_trials=20))
    oracle = build_oracle(tune, SearchSpace(tune).hyperparameters())
    oracle._set_project_dir(str(tmp_path), "oracle")
    seen = []
    while (trial := oracle.create_trial("tuner0")).status != STOPPED:
        seen.append(trial.hyperparameters.values["model.encoder.jasper.*.dropout"])
        oracle.update_trial(trial.trial_id, {"val_wer": float(seen[-1])})
        trial.status = COMPLETED
        oracle.end_trial(trial)
    assert len(set(seen)) == len(seen) >= 4


def test_hyperband_s_epochs_are_counted(write_tune, tmp_path):
    tune = load_tune_config(write_tune(tmp_path, space=SPACE, **SETTINGS["hyperband"]))
    oracle = build_oracle(tune, SearchSpace(tune).hyperparameters())
    oracle._set_project_dir(str(tmp_path), "oracle")
    epochs = 0
    while (trial := oracle.create_trial("tuner0")).status != STOPPED:
        values = trial.hyperparameters.values
        epochs += values["tuner/epochs"] - values["tuner/initial_epoch"]
        oracle.update_trial(trial.trial_id, {"val_wer": values["model.optim.lr"]})
        trial.status = COMPLETED
        oracle.end_trial(trial)
    assert (oracle.total_trials(), oracle.total_epochs(9)) == (len(oracle.trials), epochs)
