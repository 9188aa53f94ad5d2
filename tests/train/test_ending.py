"""How the process of train.py ends after an error in the data, while TensorFlow's threads still read."""

import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
END_S = 10.0
"""From the line of the error to the end of the process."""


@pytest.fixture
def train(tiny_file, tmp_path):
    """`train(name, override, ...)`: train.py started with its output in a file, killed if it is still there."""
    started: list[subprocess.Popen] = []

    def train(name: str, *overrides: str) -> subprocess.Popen:
        command = [sys.executable, str(ROOT / "train.py"), str(tiny_file), f"exp_manager.exp_dir={tmp_path}"]
        with open(tmp_path / f"{name}.out", "w") as out:
            process = subprocess.Popen(
                [*command, f"exp_manager.name={name}", *overrides],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stdout=out,
                stderr=subprocess.PIPE,
                text=True,
            )
        started.append(process)
        return process

    yield train
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def ending(process: subprocess.Popen, without_tensorflow_log) -> tuple[int, str]:
    """Exit status and stderr of a process that must end soon after its first line there, TensorFlow's aside."""
    first = next((line for line in process.stderr if without_tensorflow_log(line)), "")
    status = process.wait(END_S)
    return status, without_tensorflow_log(first + process.stderr.read())


def with_copied_sound(manifest: str, folder: Path) -> str:
    """A copy of `manifest` whose last recording is `folder`/copy.wav, a copy too."""
    lines = [json.loads(line) for line in Path(manifest).read_text().splitlines()]
    shutil.copy(lines[-1]["audio_filepath"], folder / "copy.wav")
    lines[-1]["audio_filepath"] = str(folder / "copy.wav")
    changed = folder / "changed.jsonl"
    changed.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(changed)


@pytest.mark.slow
def test_a_recording_that_cannot_be_read(train, tiny_run, without_tensorflow_log, tmp_path):
    """Several times: what it must not do depends on where TensorFlow's threads are."""
    manifest = with_copied_sound(tiny_run[0].model.train_ds.manifest_filepath, tmp_path)
    (tmp_path / "copy.wav").write_text("This is text, not sound.\n")
    for k in range(3):
        process = train(f"run{k}", f"model.train_ds.manifest_filepath={manifest}")
        status, err = ending(process, without_tensorflow_log)
        assert status == 1 and err.startswith("error: ") and "copy.wav: cannot be decoded" in err, (k, status, err)
        assert err.count("\n") == 1, err


def test_a_manifest_overwritten_in_training(train, tiny_run, without_tensorflow_log, tmp_path):
    text = Path(tiny_run[0].model.train_ds.manifest_filepath).read_text()
    manifest = tmp_path / "overwritten.jsonl"
    manifest.write_text(text)
    process = train("run", f"model.train_ds.manifest_filepath={manifest}", "trainer.max_epochs=1000")
    while not (tmp_path / "run" / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.01)
    manifest.write_text("x" * len(text))
    status, err = ending(process, without_tensorflow_log)
    assert status == 1 and err.startswith("error: ") and "overwritten.jsonl" in err, (status, err)
    assert err.count("\n") == 1, err


def test_in_validation_after_which_all_that_was_written_is_whole(
    train, tiny_run, without_tensorflow_log, logged_figures, tmp_path
):
    manifest = with_copied_sound(tiny_run[0].model.validation_ds.manifest_filepath, tmp_path)
    settings = [
        f"model.validation_ds.manifest_filepath={manifest}",
        "trainer.max_epochs=1000",
        "exp_manager.create_tensorboard_logger=true",
    ]
    process = train("run", *settings)
    folder = tmp_path / "run"
    while not (folder / "metrics.csv").exists() and process.poll() is None:
        time.sleep(0.01)
    (tmp_path / "copy.wav").write_text("This is text, not sound.\n")
    status, err = ending(process, without_tensorflow_log)
    assert status == 1 and "copy.wav: cannot be decoded" in err, (status, err)
    rows, curves = logged_figures(folder)
    assert [int(row["step"]) for row in rows if row["loss"]] == [step for step, _ in curves["train/loss"]]
    assert (folder / "metrics.csv").read_text().endswith("\n")
    printed = (tmp_path / "run.out").read_text()
    kept = [line.split(" ", 2)[2] for line in (folder / "log.txt").read_text().splitlines()]
    assert kept and "\n".join(kept) + "\n" == printed
