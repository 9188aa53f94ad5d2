"""The folder of a run: what is in it, who may go on in it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jasper_tf.config import config_from_dict
from jasper_tf.errors import UserError
from jasper_tf.training.run.folder import RunFolder

ROOT = Path(__file__).parents[3]
RESUME = "exp_manager.resume_if_exists=true"


@pytest.fixture
def config(tiny_config, tmp_path):
    return lambda *overrides: tiny_config(f"exp_manager.exp_dir={tmp_path}", *overrides)


def test_what_is_in_it(config, tmp_path, capsys):
    cfg = config(RESUME)
    run = RunFolder(cfg, ["/device:CPU:0"])
    assert run.path == tmp_path / "tiny" and not run.resumed
    assert config_from_dict(yaml.safe_load(run.config_file.read_text())) == cfg
    [start] = json.loads((run.path / "environment.json").read_text())
    assert start["command"][1:] == sys.argv
    assert start["packages"]["keras"] and start["packages"]["tensorflow"]
    assert start["seed"] == cfg.seed and start["devices"] == ["/device:CPU:0"]
    git = subprocess.run(["git", "status", "--porcelain"], cwd=ROOT, capture_output=True, text=True)
    assert start["git_dirty"] == (bool(git.stdout) if git.returncode == 0 else None)
    run.say("grüße\nzwei")
    assert capsys.readouterr().out == "grüße\nzwei\n"
    assert (run.path / "log.txt").read_text(encoding="utf-8").endswith(" grüße\nzwei\n")


def test_goes_on_when_asked_to(config):
    RunFolder(config(RESUME)).say("first")
    run = RunFolder(config(RESUME, "exp_manager.checkpoint_callback_params.save_top_k=7"))
    run.say("second")
    assert run.resumed
    assert len(json.loads((run.path / "environment.json").read_text())) == 2
    assert [line.split()[-1] for line in (run.path / "log.txt").read_text().splitlines()] == ["first", "second"]


def test_without_resume_each_start_has_its_folder(config, tmp_path):
    assert RunFolder(config()).path.parent == tmp_path / "tiny"
    named = config("exp_manager.version=a", "exp_manager.name=other")
    assert RunFolder(named).path == tmp_path / "other" / "a"
    with pytest.raises(UserError, match="a: holds a run; give another exp_manager.version, or resume_if_exists=true"):
        RunFolder(named)


@pytest.mark.parametrize("trace", ["metrics.csv", "checkpoints/step=00000001"])
def test_another_configuration_is_refused(config, trace):
    folder = RunFolder(config(RESUME)).path
    (folder / trace).parent.mkdir(exist_ok=True)
    (folder / trace).touch()
    before = (folder / "config.yaml").read_text()
    with pytest.raises(UserError) as caught:
        RunFolder(config(RESUME, "model.optim.lr=0.5", "model.encoder.jasper.1.dropout=0.3", "seed=4"))
    message = str(caught.value)
    changes = "model.encoder.jasper.1.dropout: 0.1 -> 0.3; model.optim.lr: 0.02 -> 0.5; seed: 0 -> 4; start a new run"
    assert changes in message
    assert str(folder) in message and "\n" not in message
    assert (folder / "config.yaml").read_text() == before


@pytest.mark.parametrize("trained", [True, False])
def test_another_configuration_when_asked_for_or_before_a_step(config, capsys, trained):
    """What was there stays beside the new one."""
    first = RunFolder(config(RESUME))
    before = first.config_file.read_text()
    if trained:
        first.metrics_file.touch()
    allowed = config(RESUME, f"exp_manager.allow_config_change={str(trained).lower()}", "model.optim.lr=0.5")
    run = RunFolder(allowed)
    assert "configuration changed: model.optim.lr: 0.02 -> 0.5" in capsys.readouterr().out
    assert config_from_dict(yaml.safe_load(run.config_file.read_text())) == allowed
    [old] = run.path.glob("config.until-*.yaml")
    assert old.read_text() == before
    RunFolder(allowed)
    assert len(list(run.path.glob("config.until-*.yaml"))) == 1


def test_a_key_that_an_older_version_did_not_write_has_its_default(config):
    folder = RunFolder(config(RESUME)).path
    values = yaml.safe_load((folder / "config.yaml").read_text())
    del values["trainer"]["jit_compile"]
    (folder / "config.yaml").write_text(yaml.safe_dump(values))
    assert RunFolder(config(RESUME)).resumed


def test_versions_that_count(config, tmp_path):
    counted = "exp_manager.use_datetime_version=false"
    for number in range(3):
        assert RunFolder(config(counted)).path == tmp_path / "tiny" / f"version_{number}"
    assert RunFolder(config("exp_manager.version=0")).path == tmp_path / "tiny" / "0"


def test_a_process_that_does_not_write(config, tmp_path):
    run = RunFolder(config(RESUME), writes=False)
    run.say("heard")
    assert not run.resumed and list(tmp_path.iterdir()) == []
