"""A run, its model and its recordings in an S3 bucket: the commands as processes."""

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jasper_tf.__main__ import main
from jasper_tf.config import load_config
from jasper_tf.io.object_storage import list_remote, read_remote, remove_remote, upload, write_remote
from jasper_tf.io.working_copy import WorkingCopy
from jasper_tf.training import trainer
from jasper_tf.training.distributed.devices import strategy_of
from jasper_tf.training.trainer import train

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


@pytest.fixture
def command(tmp_path):
    """`command(*arguments)` starts jasper-tf with its temporary files below tmp_path."""
    (tmp_path / "temporary").mkdir()

    def start(*arguments: str) -> subprocess.Popen:
        return subprocess.Popen(
            [sys.executable, "-m", "jasper_tf", *arguments],
            env={**os.environ, "PYTHONPATH": str(ROOT), "TMPDIR": str(tmp_path / "temporary")},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def finished(process: subprocess.Popen, status: int = 0) -> str:
    output = process.communicate(timeout=300)[0]
    assert process.returncode == status, output
    assert "made/up" not in output and "AKIA" not in output and "pure virtual" not in output
    return output


def test_a_run_in_a_bucket(s3, command, tiny_file, certain, assert_close_runs, spoken_corpus, tmp_path, capfd):
    """The run is killed, resumed on an empty machine, and equals a local one; then its model is used from there."""
    train_manifest, dev_manifest = (f"{s3}/data/{name}.jsonl" for name in ("train", "dev"))
    sources = (next(o for o in certain if "train_ds.manifest" in o).split("=")[1], spoken_corpus / "dev.jsonl")
    for url, source in zip((train_manifest, dev_manifest), map(Path, sources), strict=True):
        lines = [json.loads(line) for line in source.read_text().splitlines()][:21]
        for line in lines:
            recording = source.parent / line["audio_filepath"]
            line["audio_filepath"] = f"wavs/{recording.name}"
            upload(recording, f"{s3}/data/{line['audio_filepath']}")
        write_remote(url, "".join(json.dumps(line) + "\n" for line in lines).encode())
    settings = [*certain, "exp_manager.create_tensorboard_logger=true", "trainer.max_epochs=3"]
    settings += [f"model.train_ds.manifest_filepath={train_manifest}"]
    settings += [f"model.validation_ds.manifest_filepath={dev_manifest}"]
    arguments = ["train", str(tiny_file), *settings, f"exp_manager.exp_dir={s3}/runs"]
    run = f"{s3}/runs/tiny"

    first = command(*arguments)
    while not any(name.endswith("position.json") for name in list_remote(f"{run}/checkpoints")):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    first.kill()
    first.communicate()
    output = finished(command(*arguments))
    assert f"run {run}, " in output and "resuming at epoch" in output and "object storage has no locks" in output
    assert str(tmp_path / "temporary") not in output
    with WorkingCopy(run, "position.json", "checkpoints") as copy:
        copy.download()
        assert list((copy.path / "tensorboard").iterdir())
        for name in ("log.txt", "config.yaml", "environment.json"):
            text = (copy.path / name).read_text()
            assert "made/up" not in text and "AKIA" not in text
        assert f"exp_dir: {s3}/runs" in (copy.path / "config.yaml").read_text()
        local = train(load_config(tiny_file, [*settings, f"exp_manager.exp_dir={tmp_path}"]))
        assert_close_runs(local, copy.path)

    # In this process, which has TensorFlow already; only `evaluate` once more as typed.
    def called(*typed: str) -> str:
        capfd.readouterr()
        assert main(list(typed)) == 0
        return "".join(capfd.readouterr())

    assert "this run is complete" in called(*arguments)
    report = f"{s3}/report.json"
    finished(command("evaluate", "--model", run, "--manifest", dev_manifest, "--json", report))
    assert json.loads(read_remote(report))
    recording = next(name for name in list_remote(f"{s3}/data") if name.endswith(".wav"))
    texts = ["transcribe", f"{s3}/data/{recording}", "--model", run, "--output-dir", f"{s3}/texts", "--format", "json"]
    assert f"{s3}/texts/" in called(*texts)
    assert json.loads(read_remote(f"{s3}/texts/{Path(recording).stem}.json"))["duration_s"] > 0
    assert f"{s3}/served/1" in called("export", run, "--output", f"{s3}/served")
    assert "1/saved_model.pb" in list_remote(f"{s3}/served")
    assert f"{s3}/served/2" in called("export", run, "--output", f"{s3}/served")
    called("evaluate", "--model", f"{s3}/served/2", "--manifest", dev_manifest)

    capfd.readouterr()
    assert main(["evaluate", "--model", f"{s3}/runs/none", "--manifest", dev_manifest]) == 2
    assert capfd.readouterr().err.endswith(f"error: {s3}/runs/none: no such file; check the path\n")
    assert not Path("s3:").exists()


def test_several_machines_read_the_run_when_they_have_met(s3, tiny_file, certain, monkeypatch, capfd):
    """Until then one that is about to restart may write a checkpoint: here the only one appears at that moment."""
    settings = [*certain, "trainer.max_epochs=1", f"exp_manager.exp_dir={s3}/runs"]
    train(load_config(tiny_file, settings))
    run = f"{s3}/runs/tiny"
    written = {name: read_remote(f"{run}/{name}") for name in list_remote(run) if name.startswith("checkpoints/")}
    for name in written:
        remove_remote(f"{run}/{name}")

    def meet(config):
        for name, content in written.items():
            write_remote(f"{run}/{name}", content)
        return strategy_of(dataclasses.replace(config, num_nodes=1))

    monkeypatch.setattr(trainer, "strategy_of", meet)
    capfd.readouterr()
    train(load_config(tiny_file, [*settings, "trainer.num_nodes=2", "exp_manager.allow_config_change=true"]))
    assert "this run is complete" in capfd.readouterr().out
