"""Folder of a run: its files, and which configurations may resume it."""

import errno
import fcntl
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jasper_tf.config import config_from_dict, load_config
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
    with RunFolder(config(RESUME)) as run:
        run.say("first")
    with RunFolder(config(RESUME, "exp_manager.checkpoint_callback_params.save_top_k=7")) as run:
        run.say("second")
    assert run.resumed
    assert len(json.loads((run.path / "environment.json").read_text())) == 2
    assert [line.split()[-1] for line in (run.path / "log.txt").read_text().splitlines()] == ["first", "second"]


def test_without_resume_each_start_has_its_folder(config, tmp_path):
    assert RunFolder(config()).path.parent == tmp_path / "tiny"
    named = config("exp_manager.version=a", "exp_manager.name=other")
    with RunFolder(named) as run:
        assert run.path == tmp_path / "other" / "a"
        run.metrics_file.touch()
    with pytest.raises(UserError, match="a: contains a run; set another exp_manager.version, or resume_if_exists=true"):
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
    with RunFolder(config(RESUME)) as first:
        before = first.config_file.read_text()
        if trained:
            first.metrics_file.touch()
    allowed = config(RESUME, f"exp_manager.allow_config_change={str(trained).lower()}", "model.optim.lr=0.5")
    with RunFolder(allowed) as run:
        pass
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


def contents(folder: Path) -> dict[str, bytes | None]:
    return {str(p.relative_to(folder)): p.read_bytes() if p.is_file() else None for p in folder.rglob("*")}


def start_that_failed(cfg) -> Path:
    """The folder of a run that ended at a mistake before its first step."""
    with RunFolder(cfg) as run:
        run.say("error")
    run.tensorboard.mkdir()
    (run.tensorboard / "events.out.tfevents.1.host").touch()
    run.checkpoints.mkdir()
    (run.checkpoints / ".step=00000002.partial").mkdir()
    return run.path


def refused(cfg) -> str:
    """The message of a start that changes nothing."""
    folder = Path(cfg.exp_manager.exp_dir)
    before = contents(folder)
    with pytest.raises(UserError) as caught:
        RunFolder(cfg)
    assert contents(folder) == before
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("resume", ["true", "false"])
def test_a_corrected_configuration_starts_where_no_step_was_made(config, resume):
    settings = ["exp_manager.version=a", f"exp_manager.resume_if_exists={resume}"]
    folder = start_that_failed(config(*settings, "model.optim.sched.warmup_steps=5000"))
    corrected = config(*settings)
    with RunFolder(corrected) as run:
        assert run.path == folder and run.resumed == (resume == "true")
        assert load_config(run.config_file) == corrected


@pytest.mark.parametrize("trace", ["metrics.csv", "model.keras", "checkpoints/step=00000001/position.json"])
@pytest.mark.parametrize("settings", [[RESUME], [RESUME, "exp_manager.allow_config_change=true"], []])
def test_a_run_without_its_configuration_is_not_overwritten(config, trace, settings):
    """As a kill between renaming the old config.yaml and writing the new one left it."""
    settings = ["exp_manager.version=a", *settings]
    with RunFolder(config(*settings)) as run:
        pass
    (run.path / trace).parent.mkdir(parents=True, exist_ok=True)
    (run.path / trace).touch()
    run.config_file.rename(run.path / "config.until-2026-01-01_00-00-00.yaml")
    assert str(run.path) in refused(config(*settings))


def test_a_kill_while_config_yaml_is_replaced_leaves_one(config, monkeypatch):
    """At each rename and each write of the start."""
    with RunFolder(config(RESUME)) as run:
        before = run.config_file.read_bytes()
    changed = config(RESUME, "model.optim.lr=0.5")

    class Killed(BaseException):
        pass

    for at in range(1, 4):
        calls = iter(range(1, 99))

        def kill(*arguments, _replace=os.replace, _calls=calls, _at=at):
            if next(_calls) == _at:
                raise Killed
            _replace(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", kill)
            with pytest.raises(Killed):
                RunFolder(changed)
        if at < 3:
            assert run.config_file.read_bytes() == before
        assert load_config(run.config_file)
    with RunFolder(changed):
        assert load_config(run.config_file) == changed
        assert {old.read_bytes() for old in run.path.glob("config.until-*.yaml")} == {before}


def folder_in_place(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.mkdir()
    (file / "precious").write_text("of the user")


def pipe_in_place(file: Path) -> None:
    file.unlink(missing_ok=True)
    os.mkfifo(file)


def link_to_itself(file: Path) -> None:
    file.unlink(missing_ok=True)
    file.symlink_to(file.name)


DAMAGES = [
    *[(name, link_to_itself) for name in ("config.yaml", "log.txt", "metrics.csv", "checkpoints")],
    *[(name, folder_in_place) for name in ("config.yaml", "environment.json", "metrics.csv", "log.txt", "model.keras")],
    *[(name, pipe_in_place) for name in ("config.yaml", "environment.json", "log.txt", "run.lock")],
    *[("config.yaml", text) for text in (b"\xff\xfe", b"", b"- 1", b"{", b"name: [", b"a\x00b")],
    *[("environment.json", text) for text in (b"", b"{}", b"no JSON", b"\xff", b"[1", b"[" * 99_999, b"null")],
    ("checkpoints", b"a file"),
    ("tensorboard", b"a file"),
]


@pytest.mark.parametrize(("name", "damage"), DAMAGES)
def test_a_damaged_file_is_named_and_nothing_changed(config, name, damage):
    with RunFolder(config(RESUME)) as run:
        pass
    if callable(damage):
        damage(run.path / name)
    else:
        (run.path / name).write_bytes(damage)
    assert str(run.path / name) in refused(config(RESUME))
    assert str(run.path / name) in refused(config(RESUME, "model.optim.lr=0.5"))


@pytest.mark.parametrize("place", ["file", "file/below", "/proc", "/proc/x", "/dev/null"])
@pytest.mark.parametrize("settings", [[RESUME], [], ["exp_manager.use_datetime_version=false"]])
def test_where_no_folder_can_be_made(tiny_config, tmp_path, place, settings):
    (tmp_path / "file").touch()
    with pytest.raises(UserError) as caught:
        RunFolder(tiny_config(f"exp_manager.exp_dir={tmp_path / place}", *settings))
    assert str(tmp_path / place) in str(caught.value) and "\n" not in str(caught.value)


@pytest.fixture
def small_disk(tmp_path):
    """`small_disk(options)`: a mounted file system; skips where none may be mounted."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def mount(options: str) -> Path:
        done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", disk], capture_output=True)
        if done.returncode:
            pytest.skip("needs the right to mount")
        return disk

    yield mount
    if disk.is_mount():
        subprocess.run(["umount", disk], check=True)


@pytest.mark.skipif(not shutil.which("mount"), reason="needs mount")
@pytest.mark.parametrize("options", ["size=4k", "size=8k", "size=12k", "ro"])
def test_a_disk_that_is_full_or_read_only(tiny_config, small_disk, options):
    disk = small_disk(options)
    with pytest.raises(UserError, match=f"^{disk}/tiny[^\n]*$"):
        with RunFolder(tiny_config(f"exp_manager.exp_dir={disk}", RESUME)) as run:
            for _ in range(999):
                run.say("word " * 99)


@pytest.mark.parametrize(
    "setting",
    [
        "exp_manager.name=../x",
        "exp_manager.name=a/../../x",
        "exp_manager.name=/tmp/x",
        "exp_manager.name=.",
        'exp_manager.name="a\\0b"',
        'exp_manager.name="a\\nb"',
        'exp_manager.name="\\ud800"',
        f"exp_manager.name={'x' * 300}",
        f"exp_manager.name={'é' * 150}",
        "exp_manager.version=..",
        "exp_manager.version=''",
        'exp_manager.exp_dir="/tmp/a\\0b"',
        f"exp_manager.exp_dir=/tmp/{'x' * 300}",
        f"exp_manager.exp_dir=/tmp/{'x/' * 3000}",
        "name=../x",
    ],
)
def test_a_name_that_is_no_folder_below_exp_dir(tiny_config, setting):
    key = setting.partition("=")[0]
    settings = [setting, "exp_manager.name=null"] if key == "name" else [setting]
    with pytest.raises(UserError, match=f" {key}:[^\n]*$"):
        tiny_config(*settings)


def test_a_name_may_have_parts(config, tmp_path):
    assert RunFolder(config(RESUME, "exp_manager.name=a/b..c")).path == tmp_path / "a" / "b..c"


def test_two_at_once(config):
    with RunFolder(config(RESUME)) as run:
        assert f"pid {os.getpid()} on " in refused(config(RESUME))
        # Of several machines only the one that writes holds the lock.
        assert RunFolder(config(RESUME), writes=False).resumed
        run.say("still mine")
    with RunFolder(config(RESUME)):
        pass
    assert not (run.path / "run.lock").exists()


def test_what_killed_starts_left_is_removed(config):
    with RunFolder(config(RESUME)) as run:
        (run.path / ".config.yaml.123.writing").touch()
    with RunFolder(config(RESUME)):
        assert not [p for p in run.path.iterdir() if p.name.startswith(".")]


def test_a_file_system_without_locks(config, monkeypatch, capsys):
    def flock(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", flock)
    with RunFolder(config(RESUME)):
        assert "has no locks" in capsys.readouterr().out
