"""The lock of a run's folder, between processes."""

import fcntl
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jasper_tf.errors import UserError
from jasper_tf.training.run.lock import RunLock

ROOT = Path(__file__).parents[2]
HOLD = """
import os, subprocess, sys, time
from pathlib import Path
from jasper_tf.training.run.lock import RunLock

folder, *then = sys.argv[1:]
lock = RunLock(Path(folder))
if then == ["anew"]:
    os.execv(sys.executable, [sys.executable, "-c", sys.orig_argv[2], folder])
child = subprocess.Popen(["sleep", "60"])
print(child.pid, flush=True)
time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path):
    """`holder(*then)`: a process that holds the folder's lock and has started another, and that one's id."""
    started = []

    def start(*then: str) -> tuple[subprocess.Popen, int]:
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), *then],
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            text=True,
        )
        child = int(process.stdout.readline())
        started.extend([process.pid, child])
        return process, child

    yield start
    for pid in started:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            pass


@pytest.mark.parametrize("then", [[], ["anew"]])
def test_held_until_the_process_is_killed(holder, tmp_path, then):
    """Also by one that began anew in the same process; not by a program that it started."""
    process, child = holder(*then)
    with pytest.raises(UserError, match=f"pid {process.pid} on {os.uname().nodename}, since [^\\n]*$"):
        RunLock(tmp_path)
    process.kill()
    process.wait()
    os.kill(child, 0)
    assert (tmp_path / "run.lock").exists()
    lock = RunLock(tmp_path)
    assert f"pid {os.getpid()} " in (tmp_path / "run.lock").read_text()
    lock.close()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", [b"", b"\xff\x00\x1b[31m\n" * 99])
def test_whatever_the_file_says(tmp_path, text):
    lock = RunLock(tmp_path)
    (tmp_path / "run.lock").write_bytes(text)
    with pytest.raises(UserError) as refused:
        RunLock(tmp_path)
    assert str(refused.value).isprintable()
    lock.close()
    RunLock(tmp_path).close()


def test_a_file_that_is_removed_before_it_is_locked(tmp_path, monkeypatch):
    """As by a run that ends at this moment: the lock must be on the file that the next start sees."""
    real = fcntl.flock

    def flock(*arguments):
        monkeypatch.undo()
        (tmp_path / "run.lock").unlink()
        real(*arguments)

    monkeypatch.setattr(fcntl, "flock", flock)
    lock = RunLock(tmp_path)
    with pytest.raises(UserError):
        RunLock(tmp_path)
    lock.close()
