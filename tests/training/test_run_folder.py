"""The folder of a run: what is in it, who may go on in it."""

import json
import sys

import pytest
import yaml

from jasper_tf.config import config_from_dict
from jasper_tf.errors import UserError
from jasper_tf.training.run_folder import RunFolder

RESUME = "exp_manager.resume_if_exists=true"


@pytest.fixture
def config(tiny_config, tmp_path):
    return lambda *overrides: tiny_config(f"exp_manager.exp_dir={tmp_path}", *overrides)


def test_what_is_in_it(config, tmp_path, capsys):
    cfg = config(RESUME)
    run = RunFolder(cfg)
    assert run.path == tmp_path / "tiny" and not run.resumed
    assert config_from_dict(yaml.safe_load(run.config_file.read_text())) == cfg
    [start] = json.loads((run.path / "environment.json").read_text())
    assert start["command"][1:] == sys.argv
    assert start["packages"]["keras"] and start["packages"]["tensorflow"]
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


def test_another_configuration_is_refused(config):
    folder = RunFolder(config(RESUME)).path
    before = (folder / "config.yaml").read_text()
    with pytest.raises(UserError) as caught:
        RunFolder(config(RESUME, "model.optim.lr=0.5", "model.encoder.jasper.1.dropout=0.3", "seed=4"))
    message = str(caught.value)
    assert "model.encoder.jasper.1.dropout=0.1, now it is 0.3 and 2 more; start a new run" in message
    assert str(folder) in message and "\n" not in message
    assert (folder / "config.yaml").read_text() == before
