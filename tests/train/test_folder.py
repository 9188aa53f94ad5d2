"""train.py in a folder that is locked, damaged, full, or where a start failed before its first step."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jasper_tf.training.run.checkpoint_manager import CheckpointManager

pytestmark = pytest.mark.medium

ROOT = Path(__file__).parents[2]


def start(*arguments: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *map(str, arguments)],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def run(without_tensorflow_log):
    """`run(*arguments)`: train.py's status, stdout and stderr."""

    def run(*arguments: str) -> tuple[int, str, str]:
        process = start(*arguments)
        out, err = process.communicate(timeout=600)
        return process.returncode, out, without_tensorflow_log(err)

    return run


@pytest.mark.slow
def test_two_at_once_and_one_after_a_kill(tiny_file, run, tmp_path):
    command = [tiny_file, f"exp_manager.exp_dir={tmp_path}"]
    first = start(*command, "trainer.max_epochs=999")
    checkpoints = tmp_path / "tiny" / "checkpoints"
    try:
        while not CheckpointManager(checkpoints).paths() and first.poll() is None:
            time.sleep(0.02)
        status, out, err = run(*command, "trainer.max_epochs=999")
        assert status == 2 and err.count("\n") == 1 and f"pid {first.pid} on " in err
    finally:
        first.kill()
        first.communicate()
    assert (tmp_path / "tiny" / "run.lock").exists()
    status, out, err = run(*command, "trainer.max_epochs=999", "exp_manager.max_time_per_run=0.001")
    assert status == 0 and "resuming at epoch" in out, err
    steps = [int(line.split(",")[0]) for line in (tmp_path / "tiny" / "metrics.csv").read_text().splitlines()[1:]]
    assert steps == sorted(steps)


@pytest.mark.parametrize("resume", ["true", "false"])
def test_a_mistake_found_late_does_not_bar_the_corrected_command(tiny_file, run_here, tmp_path, resume):
    command = [tiny_file, f"exp_manager.exp_dir={tmp_path}", "exp_manager.version=a", "trainer.max_epochs=1"]
    command.append(f"exp_manager.resume_if_exists={resume}")
    status, _, err = run_here(*command, "model.optim.sched.warmup_steps=5000")
    assert status == 2 and err.count("\n") == 1, err
    status, out, err = run_here(*command)
    assert status == 0 and "step 6/6" in out, err


def without_config(folder: Path) -> None:
    (folder / "config.yaml").unlink()


def metrics_not_text(folder: Path) -> None:
    (folder / "metrics.csv").write_bytes(b"\xff")


def all_checkpoints_damaged(folder: Path) -> None:
    for file in folder.glob("checkpoints/*/variables.npz"):
        file.write_bytes(file.read_bytes()[:-9])


@pytest.mark.parametrize(
    ("damage", "name"),
    [
        (without_config, "tiny"),
        (metrics_not_text, "metrics.csv"),
        (all_checkpoints_damaged, "checkpoints"),
    ],
)
def test_a_damaged_folder_is_one_line_and_keeps_all(tiny_run, tiny_file, run_here, tmp_path, damage, name):
    folder = tmp_path / "tiny"
    shutil.copytree(tiny_run[1], folder)
    damage(folder)
    kept = {
        p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name not in ("log.txt", "environment.json")
    }
    more = ["trainer.max_epochs=4", "exp_manager.allow_config_change=true"] if name == "metrics.csv" else []
    status, _, err = run_here(tiny_file, f"exp_manager.exp_dir={tmp_path}", *more)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and name in err, err
    if more:  # config.yaml is new then, the old one beside it
        kept[next(folder.glob("config.until-*"))] = kept.pop(folder / "config.yaml")
    assert kept.items() <= {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}.items()


@pytest.mark.slow
@pytest.mark.parametrize("size", ["24k", "64k"])
def test_a_full_disk_is_one_line(tiny_file, run, tmp_path, size):
    """Where event files or a checkpoint find no room."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", disk], capture_output=True).returncode:
        pytest.skip("needs the right to mount")
    try:
        status, _, err = run(tiny_file, f"exp_manager.exp_dir={disk}", "exp_manager.create_tensorboard_logger=true")
    finally:
        subprocess.run(["umount", disk], check=True)
    assert status == 2 and err.startswith("error: ") and err.count("\n") == 1 and str(disk) in err, err
