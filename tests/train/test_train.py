"""train.py: a run from configuration to folder, interrupted, misused, on speech, and on two devices."""

import csv
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from jasper_tf.config import load_config
from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.errors import UserError
from jasper_tf.inference.load_model import load_model
from jasper_tf.metrics.keras_metric import ErrorRate
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.optim.novograd import NovoGrad
from jasper_tf.training.datasets import build_batches, first_batches
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.trainer import train

pytestmark = pytest.mark.medium

ROOT = Path(__file__).parents[2]


def start(*arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_what_a_run_leaves(tiny_run):
    cfg, folder, printed = tiny_run
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "config.yaml",
        "environment.json",
        "log.txt",
        "metrics.csv",
        "tensorboard",
        "checkpoints",
        "model.keras",
    }
    for line in (
        "kept 22 of 22 utterances",
        "kept 5 of 5",
        "trainable parameters, 18 steps of 4",
        "epoch 3/3  step 18/18",
    ):
        assert line in printed
    assert "\x1b" not in printed
    steps = [p.name[:13] for p in CheckpointManager(folder / "checkpoints").paths()]
    assert steps == [f"step={step:08d}" for step in range(2, 19, 2)]
    model = load_model(folder)
    best = min(float(p.name.partition("val_wer=")[2] or 9) for p in (folder / "checkpoints").iterdir())
    model.compile("sgd", metrics=[ErrorRate(model.tokenizer, "word")])
    batches, _ = build_batches(cfg, "validation_ds")
    assert model.evaluate(batches.dataset(), return_dict=True, verbose=0)["wer"] == pytest.approx(best, abs=1e-4)


def assert_same_run(one: Path, other: Path, last: int = 6) -> None:
    """The newest checkpoints bit for bit, and the model."""
    pairs = [CheckpointManager(folder / "checkpoints").paths()[-last:] for folder in (one, other)]
    for a, b in zip(*pairs, strict=True):
        assert a.name == b.name
        with np.load(a / "variables.npz") as variables, np.load(b / "variables.npz") as others:
            assert set(variables.files) == set(others.files)
            for key in variables.files:
                np.testing.assert_array_equal(variables[key], others[key], err_msg=f"{a.name} {key}")
        assert (a / "position.json").read_text() == (b / "position.json").read_text()
    for v, w in zip(load_model(one).weights, load_model(other).weights, strict=True):
        np.testing.assert_array_equal(v, w)


def wait_for(path: Path, process: subprocess.Popen) -> None:
    while not path.exists() and process.poll() is None:
        time.sleep(0.005)


@pytest.mark.slow
def test_stopped_and_killed_inside_epochs_it_ends_as_if_it_had_not_been(tiny_run, tiny_file, logged_figures, tmp_path):
    command = [str(tiny_file), f"exp_manager.exp_dir={tmp_path}", "exp_manager.create_tensorboard_logger=true"]
    checkpoints = tmp_path / "tiny" / "checkpoints"
    process = start(*command)
    wait_for(checkpoints / "step=00000002", process)
    process.send_signal(signal.SIGTERM)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 143, output
    assert "stopped by SIGTERM, saved " in output and "Traceback" not in output
    newest = CheckpointManager(checkpoints).paths()[-1]
    assert f"saved {newest}; the same command resumes" in output
    process = start(*command)
    wait_for(checkpoints / "step=00000008", process)
    process.kill()
    output, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, output
    # The kill comes a moment later than step 8, sometimes even behind the epoch: as if it had not.
    for path in checkpoints.iterdir():
        if path.name.lstrip(".") > "step=00000009":
            shutil.rmtree(path)
    process = start(*command)
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, output
    assert "resuming at epoch 2, step 8" in output and "epoch 3/3  step 18/18" in output
    assert_same_run(tiny_run[1], tmp_path / "tiny")
    assert logged_figures(tmp_path / "tiny") == logged_figures(tiny_run[1])


def test_stopped_by_the_clock_in_validation_and_by_a_full_disk(
    tiny_run, tiny_file, run_here, logged_figures, tmp_path, monkeypatch
):
    command = [tiny_file, f"exp_manager.exp_dir={tmp_path}", "exp_manager.create_tensorboard_logger=true"]
    folder = tmp_path / "tiny"
    status, out, _ = run_here(*command, "exp_manager.max_time_per_run=0.001")
    assert status == 0 and f"stopped by max_time, saved {folder}/checkpoints/step=00000001; the same" in out

    with monkeypatch.context() as patch:
        distributed = SpeechBatches.distributed

        def with_ctrl_c(self, *args, **kwargs):
            if not kwargs.get("endless"):
                signal.raise_signal(signal.SIGINT)
            return distributed(self, *args, **kwargs)

        patch.setattr(SpeechBatches, "distributed", with_ctrl_c)
        status, out, _ = run_here(*command)
    assert status == 130 and f"stopped by Ctrl-C, saved {folder}/checkpoints/step=00000006; the same" in out
    # Its validation is made up for before anything else.
    quota = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, quota[1]))
    try:
        status, out, err = run_here(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, quota)
    assert status == 2 and "make room" in err
    assert err.count("\n") == 1
    status, out, _ = run_here(*command)
    assert status == 0 and "epoch 1/3  step 6/18" in out and "epoch 3/3  step 18/18" in out
    assert_same_run(tiny_run[1], folder)
    assert logged_figures(folder) == logged_figures(tiny_run[1])


def test_a_non_finite_loss_names_the_batch_and_leaves_intact_checkpoints(tiny_file, run_here, tmp_path):
    status, out, err = run_here(
        tiny_file, f"exp_manager.exp_dir={tmp_path}", "model.optim.lr=1e30", "model.optim.sched=null"
    )
    assert status == 1 and err.startswith("error: step ") and err.count("\n") == 1
    [lines] = [path.read_text().splitlines() for path in tmp_path.rglob("non_finite_batch.jsonl")]
    assert len(lines) == 4
    for line in lines:
        assert json.loads(line)["audio_filepath"] in err
    for path in CheckpointManager(tmp_path / "tiny" / "checkpoints").paths():
        with np.load(path / "variables.npz") as variables:
            assert all(np.isfinite(variables[key]).all() for key in variables.files), path


def test_weights_that_overflow_are_not_saved(tiny_file, run_here, tmp_path):
    """The step before the loss is NaN: its own loss is still finite."""
    overrides = ["model.optim.lr=1000", "model.optim.weight_decay=1000", "model.optim.sched=null"]
    every_step = "exp_manager.checkpoint_callback_params={every_n_train_steps: 1, save_top_k: -1}"
    status, _, err = run_here(tiny_file, f"exp_manager.exp_dir={tmp_path}", *overrides, every_step)
    assert status == 1 and err.startswith("error: step ") and "NaN or infinite" in err and err.count("\n") == 1
    paths = CheckpointManager(tmp_path / "tiny" / "checkpoints").paths()
    assert paths
    for path in paths:
        with np.load(path / "variables.npz") as variables:
            assert all(np.isfinite(variables[key]).all() for key in variables.files), path


def test_early_stopping(tiny_file, run_here, tmp_path):
    command = [
        tiny_file,
        f"exp_manager.exp_dir={tmp_path}",
        "exp_manager.create_early_stopping_callback=true",
        "exp_manager.early_stopping_callback_params={patience: 1, min_delta: 1000}",
        "trainer.max_epochs=9",
    ]
    status, out, _ = run_here(*command)
    assert status == 0 and "epoch 2/9" in out and "epoch 3/9" not in out
    status, out, _ = run_here(*command)
    assert status == 0 and "this run is complete (12 steps)" in out


def test_fast_dev_run(tiny_file, run_here, tmp_path):
    status, out, _ = run_here(tiny_file, f"exp_manager.exp_dir={tmp_path}", "trainer.fast_dev_run=true")
    assert status == 0
    for words in (
        "fast_dev_run: one batch of 4, the longest",
        "epoch 1/1  step 1/1",
        "val_wer",
        "a SavedModel of",
        "GiB of main memory",
    ):
        assert words in out
    longest = sorted(json.loads(line)["duration"] for line in manifest_of(tiny_file).read_text().splitlines())[-1]
    assert f"the longest {longest:.1f} s" in out
    assert list(tmp_path.iterdir()) == [tiny_file]


def test_overfit_batches(tiny_file, run_here, tmp_path):
    dev = load_config(tiny_file).model.validation_ds.manifest_filepath
    status, out, _ = run_here(
        tiny_file,
        f"exp_manager.exp_dir={tmp_path}",
        "trainer.overfit_batches=2",
        "trainer.max_epochs=2",
        f"model.validation_ds.manifest_filepath={json.dumps({'near': dev, 'far': dev})}",
    )
    assert status == 0 and "step 4/4" in out
    assert "2 batches, for training and for validation, not on the named sets" in out
    with open(tmp_path / "tiny" / "metrics.csv", newline="") as file:
        validation = [row for row in csv.DictReader(file) if row["val_wer"]]
    lines = [json.loads(line) for line in manifest_of(tiny_file).read_text().splitlines()]
    cfg = load_config(tiny_file)
    chosen = first_batches(build_batches(cfg, "train_ds")[0], 2)
    assert len(chosen) == 8 < len(lines)
    words = sum(len(u.text.split()) for u in chosen)
    errors = sum(int(validation[-1][f"val_{kind}"]) for kind in ("insertions", "deletions", "substitutions"))
    assert float(validation[-1]["val_wer"]) == pytest.approx(errors / words, rel=1e-4)


def manifest_of(file: Path) -> Path:
    return Path(yaml.safe_load(file.read_text())["model"]["train_ds"]["manifest_filepath"])


def test_a_complete_run_is_named_as_such(tiny_run, tiny_file, run_here):
    before = (tiny_run[1] / "metrics.csv").read_text()
    status, out, _ = run_here(tiny_file)
    assert status == 0
    assert "this run is complete (18 steps); start another with exp_manager.name=..." in out
    assert (tiny_run[1] / "metrics.csv").read_text() == before


def test_a_rejected_and_a_complete_run_release_the_folder(tiny_run, tiny_config, tmp_path):
    """Refused behind the opening of the folder, as its checkpoints have no averages."""
    shutil.copytree(tiny_run[1], tmp_path / "tiny")
    again = ["trainer.max_epochs=3", f"exp_manager.exp_dir={tmp_path}", "exp_manager.resume_if_exists=true"]
    again.append("exp_manager.allow_config_change=true")
    with pytest.raises(UserError, match="made for another model") as rejected:
        train(tiny_config(*again, "trainer.ema={decay: 0.9}"))
    assert rejected.tb and open_files_below(tmp_path) == []
    assert train(tiny_config(*again)) == tmp_path / "tiny"
    assert open_files_below(tmp_path) == []
    assert "this run is complete (18 steps)" in (tmp_path / "tiny" / "log.txt").read_text()


def open_files_below(folder: Path) -> list[str]:
    """Of this process, by Linux's account."""
    links = [os.readlink(link) for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return [path for path in links if path.startswith(f"{folder}/")]


def test_wrong_use_is_one_line(tiny_run, tiny_file, run_here, tmp_path):
    new = f"exp_manager.exp_dir={tmp_path}"
    for arguments, words in [
        (["nowhere.yaml"], ["nowhere.yaml", "No such file"]),
        ([tiny_file, "trainer.max_epoch=3"], ["trainer.max_epoch", "unknown key", "trainer.max_epochs"]),
        ([tiny_file, "model.optim.lr=0.5"], ["model.optim.lr: 0.02 -> 0.5", "exp_manager.allow_config_change=true"]),
        ([tiny_file, new, "trainer.devices=2"], ["trainer.devices: 2, but this machine has 1 CPU"]),
        ([tiny_file, new, "trainer.val_check_interval=0.5"], ["trainer.val_check_interval: 0.5 is not supported"]),
        ([tiny_file, new, "model.train_ds.manifest_filepath=no.jsonl"], ["no.jsonl"]),
        (
            [ROOT / "configs/jasper.yaml", new],
            [
                "configs/jasper.yaml",
                "model.train_ds.manifest_filepath",
                "model.validation_ds.manifest_filepath",
                "comments",
            ],
        ),
    ]:
        status, out, err = run_here(*arguments)
        assert status == 2 and out == "", arguments
        assert err.startswith("error: ") and err.count("\n") == 1, err
        for word in words:
            assert word in err, (word, err)
    assert list(tmp_path.iterdir()) == [tiny_file]


def test_a_file_that_breaks_while_training_is_named(tiny_file, run_here, tmp_path):
    values = yaml.safe_load(tiny_file.read_text())
    lines = Path(values["model"]["train_ds"]["manifest_filepath"]).read_text().splitlines()
    entry = json.loads(lines[3])
    (tmp_path / "noise.wav").write_bytes(b"RIFF no sound")
    entry["audio_filepath"] = "noise.wav"
    (tmp_path / "train.jsonl").write_text("\n".join([*lines[:3], json.dumps(entry), *lines[4:]]))
    status, _, err = run_here(
        tiny_file, f"exp_manager.exp_dir={tmp_path}", f"model.train_ds.manifest_filepath={tmp_path}/train.jsonl"
    )
    assert status == 1
    assert f"error: {tmp_path}/noise.wav: cannot be decoded" in err and err.count("\n") == 1


def test_without_checkpoints_and_validation(tiny_config, run_here, tiny_file, tmp_path):
    status, out, _ = run_here(
        tiny_file,
        f"exp_manager.exp_dir={tmp_path}",
        "model.validation_ds=null",
        "trainer.enable_checkpointing=false",
        "trainer.max_epochs=null",
        "trainer.max_steps=7",
    )
    assert status == 0 and "step 7/7" in out
    assert not (tmp_path / "tiny" / "checkpoints").exists()
    assert load_model(tmp_path / "tiny").labels


@pytest.mark.slow
def test_it_learns_speech(tiny_config, spoken_corpus, tmp_path):
    lines = [json.loads(s) for s in (spoken_corpus / "train.jsonl").read_text().splitlines()]
    lines = sorted(lines, key=lambda line: line["duration"])[-5:]
    for line in lines:
        line["audio_filepath"] = str(spoken_corpus / line["audio_filepath"])
    manifest = tmp_path / "five.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    overrides = [f"model.encoder.jasper.{i}.dropout=0" for i in range(3)]
    overrides += [f"model.encoder.jasper.{i}.filters=64" for i in range(3)]
    cfg = tiny_config(
        f"model.train_ds.manifest_filepath={manifest}",
        "model.train_ds.batch_size=5",
        "model.train_ds.buckets=1",
        "model.spec_augment=null",
        "model.preprocessor.features=32",
        "model.encoder.feat_in=32",
        *overrides,
    )
    model = build_model(cfg)
    batches, _ = build_batches(cfg, "train_ds")
    model.compile(NovoGrad(0.02, betas=(0.8, 0.5)))
    model.fit(batches.dataset().repeat(), epochs=1, steps_per_epoch=250, verbose=0)
    found = model.transcribe([line["audio_filepath"] for line in lines])
    assert [one.text for one in found] == [line["text"] for line in lines]


TWO_DEVICES = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from jasper_tf.config import load_config
from jasper_tf.training.trainer import train

file, folder, *overrides = sys.argv[1:]
for name, settings in {
    "norm_1": ["trainer.devices=1"],
    "norm_2": ["trainer.devices=[0,1]", "model.train_ds.batch_size=2", "model.validation_ds.batch_size=2"],
    "parts_1": ["trainer.devices=1", "model.encoder.normalization_mode=layer"],
    "parts_2": ["trainer.devices=-1", "model.encoder.normalization_mode=layer", "model.train_ds.batch_size=1",
                "trainer.accumulate_grad_batches=2"],
}.items():
    train(load_config(file, [*overrides, *settings, f"exp_manager.exp_dir={folder}", f"exp_manager.name={name}"]))
"""


@pytest.mark.slow
def test_two_devices_are_one(tiny_file, certain, assert_close_runs, tmp_path):
    """With all that is summed over the devices: gradients, statistics, the losses of two blocks."""
    certain += ["model.interctc={loss_weights: [0.3], apply_at_layers: [1]}", "model.encoder.jasper.1.filters=24"]
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(tiny_file), str(tmp_path), *certain],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=1200,
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    assert "2 x CPU" in done.stdout
    assert_close_runs(tmp_path / "norm_1", tmp_path / "norm_2")
    assert_close_runs(tmp_path / "parts_1", tmp_path / "parts_2")


def test_a_run_that_max_steps_ended_inside_an_epoch_is_given_more(tiny_file, run_here, tmp_path):
    command = [tiny_file, f"exp_manager.exp_dir={tmp_path}", "trainer.max_epochs=null"]
    for steps in (9, 14):
        status, out, err = run_here(*command, f"trainer.max_steps={steps}", "exp_manager.allow_config_change=true")
        assert status == 0 and f"step {steps}/{steps}" in out, err


def test_without_a_reader_of_its_output_the_training_goes_on(tiny_file, tmp_path):
    """As in `train.py ... | head -1`."""
    command = [sys.executable, str(ROOT / "train.py"), str(tiny_file), f"exp_manager.exp_dir={tmp_path}"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.wait(200) == 0, process.stderr.read()
    assert "epoch 3/3  step 18/18" in (tmp_path / "tiny" / "log.txt").read_text()
    assert (tmp_path / "tiny" / "model.keras").is_file()
