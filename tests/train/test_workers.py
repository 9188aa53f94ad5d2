"""train.py on several machines: processes on the loopback that find each other by TF_CONFIG."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jasper_tf.config import load_config
from jasper_tf.errors import UserError
from jasper_tf.training.trainer import train

pytestmark = pytest.mark.medium

ROOT = Path(__file__).parents[2]
SETTINGS = ["trainer.num_nodes=2", "model.train_ds.batch_size=2", "model.validation_ds.batch_size=2"]


@pytest.fixture
def worker():
    """`worker(index, *arguments)` starts one of two; what still runs at the end is killed."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    started: list[subprocess.Popen] = []

    def start(index: int, *arguments: str) -> subprocess.Popen:
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        process = subprocess.Popen(
            [sys.executable, str(ROOT / "train.py"), *arguments, *SETTINGS],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CONFIG": json.dumps(config)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        started.append(process)
        return process

    yield start
    for process in started:
        if process.poll() is None:
            process.kill()
            process.communicate()


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists():
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.01)


@pytest.mark.slow
def test_two_machines_are_one_though_one_is_told_to_stop(tiny_file, certain, assert_close_runs, worker, tmp_path):
    """Worker 1 is sent SIGTERM: both leave together, and both go on. One that is killed: test_cluster.py."""
    settings = [*certain, f"exp_manager.exp_dir={tmp_path}", "trainer.max_epochs=4"]
    command = [str(tiny_file), *settings, "exp_manager.name=two"]
    checkpoints = tmp_path / "two" / "checkpoints"
    first, second = worker(0, *command), worker(1, *command)
    wait_for(checkpoints / "step=00000002", first)
    second.send_signal(signal.SIGTERM)
    outputs = [process.communicate(timeout=120)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [143, 143], outputs
    assert "stopped by a signal to another machine, saved " in outputs[0] and "stopped by SIGTERM" in outputs[1]
    first, second = worker(0, *command), worker(1, *command)
    outputs = [process.communicate(timeout=240)[0] for process in (first, second)]
    assert [process.returncode for process in (first, second)] == [0, 0], outputs
    assert "1 x CPU of 2 on 2 machines" in outputs[0] and "resuming at epoch" in outputs[0]
    one = train(load_config(tiny_file, [*settings, "exp_manager.name=one"]))
    assert_close_runs(one, tmp_path / "two")


def test_ctrl_c_ends_the_wait_for_the_others(tiny_file, worker, tmp_path):
    alone = worker(1, str(tiny_file), f"exp_manager.exp_dir={tmp_path}")
    assert "waiting for the others" in alone.stdout.readline()
    time.sleep(2)  # TensorFlow then waits, not Python
    alone.send_signal(signal.SIGINT)
    assert alone.wait(timeout=60) in (-signal.SIGINT, 130)


def test_a_cluster_of_another_size_is_one_line(tiny_file, tmp_path, monkeypatch):
    config = {"cluster": {"worker": ["127.0.0.1:1"]}, "task": {"type": "worker", "index": 0}}
    monkeypatch.setenv("TF_CONFIG", json.dumps(config))
    with pytest.raises(UserError, match="^trainer.num_nodes: 2, but the cluster has 1[^\n]*$"):
        train(load_config(tiny_file, [f"exp_manager.exp_dir={tmp_path}", *SETTINGS]))
    assert list(tmp_path.iterdir()) == [tiny_file]
