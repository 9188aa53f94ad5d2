"""jasper-tf config: list, validate, show, size."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jasper_tf.config import config_from_dict
from jasper_tf.config.packaged import packaged_configs

REPOSITORY = Path(__file__).resolve().parents[2]


def config(*arguments: str) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "jasper_tf", "config", *arguments]
    return subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=120)


def test_list():
    done = config("list")
    assert done.returncode == 0 and done.stderr == ""
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == list(packaged_configs())
    assert [line.split()[0] for line in lines if "(for tune)" in line] == ["tune.yaml"]


def test_validate_names_what_has_no_value_yet():
    done = config("validate", "quartznet.yaml", "model.train_ds.manifest_filepath=train.jsonl")
    assert done.returncode == 0 and "model.validation_ds.manifest_filepath" in done.stdout
    assert "model.train_ds.manifest_filepath" not in done.stdout


def test_validate_a_search():
    done = config("validate", "tune.yaml", "tune.max_trials=3")
    assert done.returncode == 0 and "tune.yaml" in done.stdout and "an4.yaml" in done.stdout


def test_validate_refuses_an_unknown_key():
    done = config("validate", "demo.yaml", "model.optim.rate=1")
    assert done.returncode == 2 and done.stdout == ""
    assert "model.optim.rate" in done.stderr and "Traceback" not in done.stderr


def test_show_prints_an_equal_configuration():
    done = config("show", "demo.yaml", "trainer.max_epochs=3", "model.train_ds.augmentor=null")
    values = yaml.safe_load(done.stdout)
    assert values["trainer"]["max_epochs"] == 3 and values["model"]["optim"]["sched"]["warmup_steps"] == 200
    assert config_from_dict(values).to_dict() == values


@pytest.mark.medium
def test_size_counts_parameters_and_memory():
    done = config("size", "demo.yaml", "model.train_ds.batch_size=400", "--longest-s", "30")
    assert done.returncode == 0 and "| block 5 |" in done.stdout and "trainable parameters" in done.stdout, done.stderr
    assert "400 x 30 s" in done.stdout
    assert float(done.stdout.rpartition(" takes about ")[2].split()[0]) > 5


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        ((), "ACTION"),
        (("show", "tune.yaml"), "tune.yaml: the file of a search"),
        (("validate", "configs"), "configs: a folder"),
        (("measure",), "measure"),
        (("size", "demo.yaml", "--longest-s", "-1"), "--longest-s"),
    ],
)
def test_wrong_use(arguments, part):
    done = config(*arguments)
    assert done.returncode == 2 and part in done.stderr and "Traceback" not in done.stderr
