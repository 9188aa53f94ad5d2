"""jasper-tf train and export, and train.py and export.py, which run the same."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jasper_tf.export.saved_model.writer import export

REPOSITORY = Path(__file__).resolve().parents[2]
WAYS = {"verb": ["-m", "jasper_tf", "{}"], "file": [str(REPOSITORY / "{}.py")]}


def start(way: str, verb: str, *arguments: str) -> subprocess.Popen:
    # Where the tests run in a shell's background, Ctrl-C is ignored, and processes inherit that.
    command = ["env", "--default-signal=INT", sys.executable, *(part.format(verb) for part in WAYS[way]), *arguments]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("verb", ["train", "export"])
def test_the_usage_line_is_the_program_as_it_was_called(way, verb):
    out, err = start(way, verb, "--help").communicate(timeout=60)
    program = {"verb": f"python -m jasper_tf {verb}", "file": f"{verb}.py"}[way]
    assert out.startswith(f"usage: {program} [-h]") and err == ""


@pytest.mark.medium
def test_a_finished_run_is_complete_and_is_exported(tiny_run, tiny_file, tmp_path):
    """By the verb and by export.py; train.py has tests of its own."""
    process = start("verb", "train", str(tiny_file), f"exp_manager.exp_dir={tiny_run[1].parent}")
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0 and "complete (18 steps)" in out, err
    assert f" evaluate --model {tiny_run[1]} " in out.splitlines()[-1]
    process = start("file", "export", str(tiny_run[1]), "--output", str(tmp_path / "out"))
    out, err = process.communicate(timeout=200)
    assert process.returncode == 0 and out.splitlines()[-1] == str(tmp_path / "out" / "1"), err
    assert (tmp_path / "out" / "1" / "saved_model.pb").is_file()


@pytest.mark.medium
@pytest.mark.parametrize("presses", [1, 2])
def test_an_interrupted_trial_promises_nothing(presses, tiny_file, tmp_path):
    process = start("verb", "train", str(tiny_file), "trainer.fast_dev_run=true", f"exp_manager.exp_dir={tmp_path}")
    for line in process.stdout:
        if line.startswith("fast_dev_run: one batch"):
            break
    for _ in range(presses):
        process.send_signal(signal.SIGINT)
        time.sleep(0.1)
    out, err = process.communicate(timeout=200)
    assert process.returncode in (130, -signal.SIGINT), err
    assert "saved" not in out + err and "resumes" not in out + err and "Traceback" not in err


@pytest.mark.parametrize("folder", ["out", "a/b/out"])
def test_an_export_that_breaks_off_leaves_no_folder(folder, tmp_path, untrained_model):
    with pytest.raises(UnicodeEncodeError):
        export(untrained_model(list(" abc'")), tmp_path / folder, config_yaml="name: \ud800")
    assert list(tmp_path.iterdir()) == []
