"""A run with averaged weights, a plateau and another optimizer: its files, and resuming it."""

import csv
import io
import json
import shutil

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jasper_tf.inference.load_model import load_model
from jasper_tf.metrics.keras_metric import ErrorRate
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.trainer import train

pytestmark = pytest.mark.slow
DECAY = 0.8
OVERRIDES = (
    "model.optim={name: adamw, lr: 0.01, weight_decay: 0.01, exclude_from_weight_decay: ['*norm_*/*', '*/bias'],"
    " sched: {name: PolynomialHoldDecayAnnealing, warmup_steps: 2, hold_steps: 3, min_lr: 1.0e-4,"
    " monitor: val_loss_ema, reduce_on_plateau: true, factor: 0.5, patience: 1, threshold: 99, threshold_mode: abs}}",
    "model.train_ds.batch_size=2",  # of 2 micro-batches
    "trainer={accelerator: cpu, max_epochs: 3, accumulate_grad_batches: 2, log_every_n_steps: 2}",
    f"trainer.ema={{decay: {DECAY}}}",
    "exp_manager.create_tensorboard_logger=true",
    "exp_manager.resume_if_exists=true",
    "exp_manager.checkpoint_callback_params={monitor: val_loss_ema, every_n_train_steps: 1, save_top_k: -1}",
)


@pytest.fixture(scope="module")
def averaged_run(tiny_config, built_once):
    """3 epochs of 6 steps, a checkpoint of every step."""

    def config(folder):
        return tiny_config(*OVERRIDES, f"exp_manager.exp_dir={folder}")

    folder = built_once("averaged", lambda folder: train(config(folder)))
    return config(folder), folder / "tiny"


def stored(folder, step):
    [path] = (p for p in CheckpointManager(folder / "checkpoints").paths() if p.name.startswith(f"step={step:08d}"))
    with np.load(path / "variables.npz") as values:
        return json.loads((path / "position.json").read_text()), dict(values)


def rows(folder):
    return list(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text())))


def test_the_average_counts_optimizer_steps(averaged_run):
    """Of the checkpoints' own weights, from the second step on."""
    _, folder = averaged_run
    _, first = stored(folder, 1)
    names = {key: key.replace("_average", "").split("/")[-1] for key in first if key.startswith("average/")}
    # The average is of the weights, in their order; the model's variables have random states between them.
    model = iter(sorted((key for key in first if key.startswith("model/")), key=lambda key: int(key.split("/")[1])))
    pairs = {a: next(key for key in model if key.split("/")[-1] == name) for a, name in names.items()}
    assert {"kernel", "gamma", "moving_mean", "moving_variance"} <= set(names.values())
    expected = {a: first[a].astype(np.float64) for a in pairs}
    for step in range(2, 19):
        _, values = stored(folder, step)
        for a, key in pairs.items():
            expected[a] = DECAY * expected[a] + (1 - DECAY) * values[key]
            np.testing.assert_allclose(values[a], expected[a], rtol=1e-4, atol=1e-5, err_msg=f"{step} {a}")


def test_the_model_is_what_the_monitor_names(averaged_run):
    cfg, folder = averaged_run
    validated = [row for row in rows(folder) if row["val_loss"]]
    assert [int(row["step"]) for row in validated] == [6, 12, 18]
    best = min(validated, key=lambda row: float(row["val_loss_ema"]))
    state, values = stored(folder, int(best["step"]))
    averages = [values[key] for key in sorted(values, key=lambda k: k.split("/")[1].zfill(4)) if key.startswith("aver")]
    model = load_model(folder)
    for a, b in zip(model.weights, averages, strict=True):
        np.testing.assert_array_equal(a, b)
    model.compile("sgd", metrics=[ErrorRate(model.tokenizer, "word"), ErrorRate(model.tokenizer, "character")])
    batches, _ = build_batches(cfg, "validation_ds")
    scored = model.evaluate(batches.dataset(), return_dict=True, verbose=0)
    for name in ("loss", "wer", "cer"):
        assert scored[name] == pytest.approx(float(best[f"val_{name}_ema"]), rel=1e-5)
        assert scored[name] == pytest.approx(state["metrics"][f"val_{name}_ema"], rel=1e-5)
    assert best["val_loss_ema"] != best["val_loss"]


def test_the_scale_is_kept_logged_and_drawn(averaged_run):
    _, folder = averaged_run
    training = [row for row in rows(folder) if row["loss"]]
    scales = [1.0] * 3 + [1.0] * 3 + [0.5] * 3
    assert [float(row["learning_rate_scale"]) for row in training] == scales
    # Held at 0.01 up to step 5, then a straight line to 1e-4 at step 18; the rate that the next step would take.
    line = [0.01 if s < 5 else 0.01 - 0.0099 * (s - 5) / 13 for s in (int(row["step"]) for row in training)]
    rates = [float(row["learning_rate"]) for row in training]
    np.testing.assert_allclose(rates, np.multiply(line, scales), rtol=1e-4)
    assert [stored(folder, step)[0]["plateau"]["scale"] for step in (5, 6, 12, 13, 18)] == [1, 1, 0.5, 0.5, 0.25]
    page = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0}).Reload()
    assert {"train/learning_rate_scale", "validation/wer_ema", "validation/loss_ema"} <= set(page.Tags()["tensors"])
    assert [event.step for event in page.Tensors("train/learning_rate_scale")] == [int(row["step"]) for row in training]
    assert "learning rate now 0.25 of its schedule" in (folder / "log.txt").read_text()


def test_it_goes_on_as_if_it_had_not_stopped(averaged_run, tiny_config, tmp_path):
    """From step 14, inside the epoch behind the first fall of the rate."""
    _, folder = averaged_run
    again = tmp_path / folder.name
    shutil.copytree(folder, again)
    for path in (again / "checkpoints").iterdir():
        if path.name > "step=00000015":
            shutil.rmtree(path)
    assert train(tiny_config(*OVERRIDES, f"exp_manager.exp_dir={tmp_path}")) == again
    for step in range(15, 19):
        (state, values), (expected_state, expected) = stored(again, step), stored(folder, step)
        assert state == expected_state
        assert values.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(values[key], value, err_msg=f"{step} {key}")
    untimed = [[{k: v for k, v in row.items() if k != "utterances_per_s"} for row in rows(f)] for f in (folder, again)]
    validated = [[row for row in run if row["val_loss"]] for run in untimed]
    assert validated[0] == validated[1]
