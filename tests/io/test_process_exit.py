"""The end of a command's process: its status and output, whatever its threads do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parent.parent
HEAD = """
import atexit, sys, threading
from jasper_tf.io.process_exit import exit_with
atexit.register(print, "registered")
threading.Thread(target=threading.Event().wait).start()  # would keep Python from ending
"""


def run(body: str, **streams) -> subprocess.CompletedProcess:
    command = [sys.executable, "-c", f"{HEAD}\ndef main():\n    print('printed')\n    {body}\nexit_with(main)"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    return subprocess.run(command, cwd=REPOSITORY, env=buffered, text=True, timeout=30, **streams)


@pytest.mark.parametrize(
    ("body", "status", "err"),
    [
        ("return 0", 0, ""),
        ("return 143", 143, ""),
        ("sys.exit(2)", 2, ""),
        ("sys.exit()", 0, ""),
        ("sys.exit('wrong')", 1, "wrong\n"),
        ("raise KeyError('missing')", 1, "KeyError: 'missing'\n"),
        ("raise KeyboardInterrupt", 130, ""),
    ],
)
def test_status_output_and_what_was_registered(body, status, err):
    done = run(body)
    assert done.returncode == status and done.stdout == "printed\nregistered\n"
    assert done.stderr.endswith(err) and ("Traceback" in done.stderr) == ("raise KeyError" in body)


def test_an_output_that_takes_nothing():
    with open("/dev/full", "w") as full:
        done = run("return 0", stdout=full)
    assert done.returncode == 1 and done.stderr.count("\n") == 1 and "error: standard output: " in done.stderr


def test_an_output_that_nobody_reads():
    code = "import os, subprocess, sys; r, w = os.pipe(); os.close(r); "
    code += "sys.exit(subprocess.run([sys.executable, '-c', sys.argv[1]], stdout=w).returncode)"
    inner = f"{HEAD}\nexit_with(lambda: print('printed') or 0)"
    command = [sys.executable, "-c", code, inner]
    buffered = {**os.environ, "PYTHONUNBUFFERED": ""}
    done = subprocess.run(command, cwd=REPOSITORY, env=buffered, capture_output=True, text=True, timeout=30)
    assert done.returncode == 141 and done.stderr == ""
