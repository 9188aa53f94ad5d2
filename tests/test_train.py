"""train.py: a run from configuration to folder, interrupted, misused, on real speech, and on two devices."""

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import yaml

from jasper_tf.jasper_ctc import build_model, load_model
from jasper_tf.training.checkpoint import CheckpointFolder
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.error_rate_metric import ErrorRate
from jasper_tf.training.novograd import NovoGrad

ROOT = Path(__file__).parent.parent


def start(*arguments: str) -> subprocess.Popen:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        [sys.executable, str(ROOT / "train.py"), *arguments],
        env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip


@pytest.fixture
def run_here(monkeypatch, capsys):
    """train.py's main in this process: (exit status, stdout, stderr)."""
    spec = importlib.util.spec_from_file_location("train_command", ROOT / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
        status = module.main()
        return status, *capsys.readouterr()

    return run


@pytest.fixture
def tiny_file(tiny_run, tmp_path) -> Path:
    """The finished run's configuration as a file."""
    file = tmp_path / "tiny.yaml"
    shutil.copy(tiny_run[1] / "config.yaml", file)
    return file


def test_what_a_run_leaves(tiny_run):
    cfg, folder, printed = tiny_run
    names = {p.name for p in folder.iterdir()}
    assert names == {
        "config.yaml", "environment.json", "log.txt", "metrics.csv", "tensorboard", "checkpoints", "model.keras",
    }  # fmt: skip
    for line in (
        "kept 22 of 22 utterances",
        "kept 5 of 5",
        "trainable parameters, 18 steps of 4",
        "epoch 3/3  step 18/18",
    ):
        assert line in printed
    assert "\x1b" not in printed
    steps = [p.name[:13] for p in CheckpointFolder(folder / "checkpoints").paths()]
    assert steps == [f"step={step:08d}" for step in range(2, 19, 2)]
    model = load_model(folder)
    best = min(float(p.name.partition("val_wer=")[2] or 9) for p in (folder / "checkpoints").iterdir())
    model.compile("sgd", metrics=[ErrorRate(model.labels, "word")])
    batches, _ = build_batches(cfg, "validation_ds")
    assert model.evaluate(batches.dataset(), return_dict=True, verbose=0)["wer"] == pytest.approx(best, abs=1e-4)


@pytest.mark.slow
def test_killed_inside_an_epoch_it_ends_as_if_it_had_not_been(tiny_run, tiny_file, logged_figures, tmp_path):
    whole = CheckpointFolder(tiny_run[1] / "checkpoints")
    command = [str(tiny_file), f"exp_manager.exp_dir={tmp_path}"]
    process = start(*command)
    checkpoints = tmp_path / "tiny" / "checkpoints"
    while not (checkpoints / "step=00000008").exists() and process.poll() is None:
        time.sleep(0.005)
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
    assert "going on at epoch 2, step 8" in output and "epoch 3/3  step 18/18" in output
    for a, b in zip(whole.paths()[-6:], CheckpointFolder(checkpoints).paths()[-6:], strict=True):
        assert a.name == b.name
        with np.load(a / "variables.npz") as one, np.load(b / "variables.npz") as other:
            assert set(one.files) == set(other.files)
            for key in one.files:
                np.testing.assert_array_equal(one[key], other[key], err_msg=f"{a.name} {key}")
        assert (a / "position.json").read_text() == (b / "position.json").read_text()
    for a, b in zip(load_model(tiny_run[1]).weights, load_model(tmp_path / "tiny").weights, strict=True):
        np.testing.assert_array_equal(a, b)
    assert logged_figures(tmp_path / "tiny") == logged_figures(tiny_run[1])


def test_a_complete_run_says_so(tiny_run, tiny_file, run_here):
    before = (tiny_run[1] / "metrics.csv").read_text()
    status, out, _ = run_here(tiny_file)
    assert status == 0
    assert "this run is complete (18 steps); exp_manager.name=... starts another" in out
    assert (tiny_run[1] / "metrics.csv").read_text() == before


def test_wrong_use_is_one_line(tiny_run, tiny_file, run_here, tmp_path):
    new = f"exp_manager.exp_dir={tmp_path}"
    for arguments, words in [
        (["nowhere.yaml"], ["nowhere.yaml", "No such file"]),
        ([tiny_file, "trainer.max_epoch=3"], ["trainer.max_epoch", "unknown key", "trainer.max_epochs"]),
        ([tiny_file, "model.optim.lr=0.5"], ["began with model.optim.lr=0.02, now it is 0.5", "exp_manager.name="]),
        ([tiny_file, new, "trainer.devices=2"], ["trainer.devices: 2, but this machine has 1 CPU"]),
        ([tiny_file, new, "trainer.val_check_interval=0.5"], ["trainer.val_check_interval: 0.5 is not supported"]),
        ([tiny_file, new, "model.train_ds.manifest_filepath=no.jsonl"], ["no.jsonl"]),
        (
            [ROOT / "configs/jasper.yaml", new],
            ["configs/jasper.yaml", "model.train_ds.manifest_filepath", "model.validation_ds.manifest_filepath",
             "comments"],
        ),
    ]:  # fmt: skip
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
    assert status == 2
    assert f"error: {tmp_path}/noise.wav: cannot be decoded" in err and err.count("\n") == 1


def test_without_checkpoints_and_validation(tiny_config, run_here, tiny_file, tmp_path):
    status, out, _ = run_here(
        tiny_file, f"exp_manager.exp_dir={tmp_path}", "model.validation_ds=null", "trainer.enable_checkpointing=false",
        "trainer.max_epochs=null", "trainer.max_steps=7",
    )  # fmt: skip
    assert status == 0 and "step 7/7" in out
    assert not (tmp_path / "tiny" / "checkpoints").exists()
    assert load_model(tmp_path / "tiny").labels


@pytest.mark.slow
def test_it_learns_real_speech(tiny_config, shared, tmp_path):
    lines = [json.loads(s) for s in (shared / "data/an4/digits_train_manifest.json").read_text().splitlines()]
    lines = sorted(lines, key=lambda line: line["duration"])[:5]
    for line in lines:
        line["audio_filepath"] = str(shared / "data/an4" / line["audio_filepath"])
    manifest = tmp_path / "digits.jsonl"
    manifest.write_text("\n".join(map(json.dumps, lines)))
    overrides = [f"model.encoder.jasper.{i}.dropout=0" for i in range(3)]
    overrides += [f"model.encoder.jasper.{i}.filters=64" for i in range(3)]
    cfg = tiny_config(
        f"model.train_ds.manifest_filepath={manifest}", "model.train_ds.batch_size=5", "model.train_ds.buckets=1",
        "model.spec_augment=null", "model.preprocessor.features=32", "model.encoder.feat_in=32", *overrides,
    )  # fmt: skip
    model = build_model(cfg)
    batches, _ = build_batches(cfg, "train_ds")
    model.compile(NovoGrad(0.02, betas=(0.8, 0.5)))
    model.fit(batches.dataset().repeat(), epochs=1, steps_per_epoch=150, verbose=0)
    assert model.transcribe([line["audio_filepath"] for line in lines]) == [line["text"] for line in lines]


TWO_DEVICES = """
import sys
import keras, numpy as np, tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from jasper_tf.config import load_config
from jasper_tf.jasper_ctc import build_model
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.devices import build_strategy, choose_devices
from jasper_tf.training.checkpoint import CheckpointFolder, Position
from jasper_tf.training.save_checkpoints import TrackPosition
from jasper_tf.training.trainer import compile_model

results = []
for devices in (1, 2):
    cfg = load_config(sys.argv[1], sys.argv[2:])
    names = choose_devices("cpu", devices)
    assert len(names) == devices
    strategy = build_strategy(names)
    assert strategy.num_replicas_in_sync == devices
    with strategy.scope():
        model = build_model(cfg, synchronized=devices > 1)
        compile_model(model, cfg, 12)
    training, _ = build_batches(cfg, "train_ds", divisor=2)
    validation, _ = build_batches(cfg, "validation_ds", divisor=2)
    # Keras reads ahead under a strategy, which must not move the order of the data on.
    position = Position()
    track = TrackPosition(position, training, 12)
    data = dict(x=training.dataset(), validation_data=validation.dataset())
    history = model.fit(**data, epochs=2, callbacks=[track], verbose=0)
    results.append((history.history, [np.array(w) for w in model.weights], [w.path for w in model.weights]))

folder = CheckpointFolder(sys.argv[1] + ".checkpoints")
folder.save(model, position)
for variable in model.weights:
    variable.assign(variable * 0 + 7)
assert folder.restore(model) == position
for variable, before in zip(model.weights, results[1][1], strict=True):
    np.testing.assert_array_equal(variable, before)

(one, weights, paths), (two, other_weights, _) = results
print(one, two)
assert one.keys() == two.keys()
for key in one:
    np.testing.assert_allclose(two[key], one[key], rtol=1e-5, err_msg=key)
for path, a, b in zip(paths, weights, other_weights, strict=True):
    np.testing.assert_allclose(b, a, atol=1e-5, err_msg=path)
print("same")
"""


@pytest.mark.slow
def test_two_devices_are_one(tiny_file):
    """21 utterances by 8: the last batch has 5, and is filled up with one of weight 0."""
    values = yaml.safe_load(tiny_file.read_text())
    manifest = tiny_file.with_name("21.jsonl")
    lines = Path(values["model"]["train_ds"]["manifest_filepath"]).read_text().splitlines()[:21]
    manifest.write_text("\n".join(lines))
    overrides = [f"model.encoder.jasper.{i}.dropout=0" for i in range(3)]
    overrides += ["model.spec_augment=null", "model.preprocessor.dither=0", "trainer.gradient_clip_val=1.0"]
    overrides += [f"model.train_ds.manifest_filepath={manifest}", "model.optim.lr=0.002"]
    done = subprocess.run(
        [sys.executable, "-c", TWO_DEVICES, str(tiny_file), *overrides],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.endswith("same\n"), done.stdout + done.stderr[-3000:]
