"""The file of a search: what it may say, what its keys mean for a trial, and how a mistake in it is named."""

import json
from pathlib import Path

import pytest

from jasper_tf.config import load_config
from jasper_tf.config.sections.tune_schema import load_tune_config
from jasper_tf.errors import UserError
from jasper_tf.tuning.search_space import SearchSpace

ROOT = Path(__file__).parents[2]


def test_the_file_in_configs_is_a_search_on_an4(monkeypatch):
    monkeypatch.chdir(ROOT)
    tune = load_tune_config("configs/tune.yaml", ["tune.max_trials=3", "model.train_ds.batch_size=4"])
    assert (tune.max_trials, tune.tuner, tune.overrides[-1]) == (3, "bayesian", "model.train_ds.batch_size=4")
    space = SearchSpace(tune)
    values = space.values(space.hyperparameters().values)
    cfg = load_config(tune.config, space.overrides(values | {"model.encoder.jasper.*.dropout": 0.3}))
    assert {block.dropout for block in cfg.model.encoder.jasper} == {0.3}
    assert [cfg.model.encoder.jasper[i].filters for i in (4, 6)] == [128, 128] and cfg.model.train_ds.batch_size == 4
    largest = {p.name: p.prob_to_value(0.99) for p in space.hyperparameters().space}
    cfg = load_config(tune.config, space.overrides(space.values(largest)))
    assert [cfg.model.encoder.jasper[i].filters for i in (4, 6)] == [256, 256]


def test_values_reach_the_configuration(write_tune, tmp_path):
    """Of any kind, exactly, and of two keys that meet the later one."""
    space = {
        "model.encoder.jasper.*.dropout": {"type": "choice", "values": [0.1, 0.25]},
        "model.encoder.jasper.1.dropout": {"type": "float", "min": 0.3, "max": 0.4},
        "model.spec_augment": {"type": "choice", "values": [None, {"time_masks": 2}]},
        "model.ctc_reduction": {"type": "choice", "values": ["mean_batch", "sum"]},
        "model.encoder.jasper.1.se": {"type": "choice", "values": [True, False]},
    }
    tune = load_tune_config(write_tune(tmp_path, space=space))
    searched = SearchSpace(tune)
    parameters = searched.hyperparameters()
    chosen = {p.name: p.prob_to_value(0.99) for p in parameters.space}
    values = searched.values(chosen)
    assert values["model.encoder.jasper.*.dropout"] == 0.25 and values["model.encoder.jasper.1.se"] is False
    assert values["model.encoder.jasper.1.dropout"] == 0.399
    cfg = load_config(tune.config, searched.overrides(values)).model
    assert [block.dropout for block in cfg.encoder.jasper] == [0.25, 0.399, 0.25]
    assert cfg.spec_augment.time_masks == 2 and cfg.ctc_reduction == "sum" and not cfg.encoder.jasper[1].se
    first = searched.values({p.name: p.prob_to_value(0.0) for p in parameters.space})
    assert load_config(tune.config, searched.overrides(first)).model.spec_augment is None
    command = searched.command(values, "best")
    assert command.startswith(f"python -m jasper_tf train {tune.config} ") and "trainer.max_epochs" not in command


def test_a_configuration_and_a_search_are_told_apart(write_tune, tmp_path):
    with pytest.raises(UserError, match=r"an4\.yaml: a configuration of a training.*`config:`"):
        load_tune_config("an4.yaml")
    with pytest.raises(UserError, match=r"tune\.yaml: the file of a search.* use tune"):
        load_config("tune.yaml")
    with pytest.raises(UserError, match="name: unknown key; nearest known key: (?!name)"):
        load_tune_config(write_tune(tmp_path, name="mine"))


LR = "model.optim.lr"
RANGE = {"type": "float", "min": 0.01, "max": 0.02}


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"max_trial": 3}, ["tune.yaml:", "max_trial: unknown key", "max_trials"]),
        ({"tuner": "grid"}, ["tune.yaml:", "tuner: expected one of random, bayesian, hyperband, got 'grid'"]),
        ({"max_trials": None}, ["tune.yaml: max_trials: random needs the number"]),
        ({"tuner": "hyperband"}, ["max_trials: hyperband's number of trials follows"]),
        ({"tuner": "hyperband", "max_trials": None, "max_epochs": None}, ["max_epochs: hyperband needs"]),
        ({"objective": "wer"}, ["objective: expected one of val_wer"]),
        ({"config": "nowhere.yaml"}, ["nowhere.yaml", "No such file"]),
        ({"config": "???"}, ["config: no value yet"]),
        ({"space": {}}, ["space: no keys to search"]),
        ({"space": {LR: 0.1}}, ["tune.yaml:", f"space.{LR}: expected {{type: float or int"]),
        ({"space": {LR: {"type": "real"}}}, [f"space.{LR}: expected {{type"]),
        ({"space": {LR: {**RANGE, "low": 1}}}, [f"space.{LR}.low: unknown key"]),
        ({"space": {LR: {**RANGE, "max": 0.01}}}, [f"space.{LR}.max: 0.01 is not above min, 0.01: an empty range"]),
        ({"space": {LR: {**RANGE, "step": 1}}}, [f"space.{LR}.step", "an empty range"]),
        ({"space": {LR: {**RANGE, "min": 0, "sampling": "log"}}}, [f"space.{LR}.min: 0.0 must be above 0"]),
        ({"space": {LR: {**RANGE, "max": "high"}}}, [f"space.{LR}.max: expected a number, got 'high'"]),
        ({"space": {LR: {"type": "choice", "values": [0.1]}}}, [f"space.{LR}.values: expected at least two"]),
        ({"space": {LR: {"type": "choice", "values": [0.1, 0.2, 0.1]}}}, [f"space.{LR}.values", "each once"]),
        (
            {"space": {"model.optim.lrr": RANGE}},
            ["space.model.optim.lrr: unknown key; nearest known key: model.optim.lr"],
        ),
        ({"space": {"model.optm.lr": RANGE}}, ["space.model.optm.lr: model.optm: unknown key", "model.optim"]),
        ({"space": {"model.encoder.jasper.7.dropout": RANGE}}, ["space.model.encoder.jasper.7.dropout", "0 to 2"]),
        (
            {"space": {"model.encoder.*.dropout": RANGE}},
            ["* stands for entries of a list, but model.encoder is not a list"],
        ),
        ({"space": {LR: {"type": "choice", "values": [0.1, "big"]}}}, [f"space.{LR}.values.1: expected a number"]),
        ({"space": {LR: {**RANGE, "min": -1}}}, [f"space.{LR}.min: -1.0 is out of range"]),
        (
            {"space": {"model.encoder.jasper.*.filters": RANGE}},
            ["jasper.*.filters.min: expected a whole number, got 0.01"],
        ),
        (
            {"space": {"exp_manager.name": {"type": "choice", "values": ["a", "b"]}}},
            ["exp_manager.name", "set by the search"],
        ),
        (
            {"space": {"trainer.max_epochs": {"type": "int", "min": 1, "max": 3}}},
            ["trainer.max_epochs", "set by the search"],
        ),
        ({"overrides": [f"{LR}=0.1"]}, [f"space.{LR}: {LR} is among the overrides too"]),
        ({"overrides": ["exp_manager.exp_dir=x"]}, ["override exp_manager.exp_dir", "use output for the folder"]),
        ({"overrides": ["model.optm.lr=0.1"]}, ["model.optm: unknown key"]),
        ({"overrides": ["tune.seed=2"]}, ["tune.yaml:", "overrides: 'tune.seed=2'"]),
    ],
)
def test_a_mistake_is_one_line(write_tune, tmp_path, changes, words):
    file = write_tune(tmp_path, **changes)
    with pytest.raises(UserError) as caught:
        SearchSpace(load_tune_config(file))
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_the_place_is_the_line(write_tune, tmp_path):
    file = write_tune(tmp_path, space={LR: {**RANGE, "max": -2}})
    line = next(i for i, text in enumerate(file.read_text().splitlines(), 1) if "max: -2" in text)
    with pytest.raises(UserError, match=rf"{file}:{line}: space\.{LR}\.max: -2"):
        load_tune_config(file)
    with pytest.raises(UserError, match="command line: tune.space.x=1: the space is changed in"):
        load_tune_config(file, ["tune.space.x=1"])
    with pytest.raises(UserError, match="command line: max_trials: 0 is out of range"):
        load_tune_config(file, ["tune.max_trials=0"])


def test_numbers_have_six_digits_as_between_machines(write_tune, tmp_path):
    """keras-tuner's messages carry numbers in single precision: with a worker, a trial is the same."""
    import numpy as np

    searched = SearchSpace(load_tune_config(write_tune(tmp_path, space={LR: {**RANGE, "sampling": "log"}})))
    (parameter,) = searched.hyperparameters().space
    for probability in np.linspace(0.01, 0.99, 50):
        value = parameter.prob_to_value(probability)
        assert searched.values({LR: value}) == searched.values({LR: float(np.float32(value))})
        (*_, override) = searched.overrides(searched.values({LR: value}))
        assert json.loads(override.partition("=")[2]) == pytest.approx(value, rel=5e-6)
