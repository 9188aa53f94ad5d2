"""metrics.csv and the TensorBoard page of a run."""

import csv
import dataclasses
import io
import shutil

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jasper_tf.errors import UserError
from jasper_tf.inference.load_model import load_model
from jasper_tf.model.flops import training_flops
from jasper_tf.training.callbacks.save_checkpoints import SaveCheckpoints
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.run.log import RunLog
from jasper_tf.training.run.training_state import TrainingState
from jasper_tf.training.trainer import train

TRAINING = {
    "loss",
    "learning_rate",
    "grad_norm",
    "update_ratio",
    "blank_share",
    "infeasible",
    "padding_ratio",
    "utterances_per_s",
    "steps_per_s",
    "model_flop_per_s",
    "mfu",
}
VALIDATION = {"val_loss", "val_wer", "val_cer", "val_insertions", "val_deletions", "val_substitutions"}


@pytest.fixture(scope="module")
def rows(tiny_run):
    _, folder, _ = tiny_run
    return list(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text())))


def test_rows(rows):
    # Every 4 steps and before each validation; after each validation its own.
    assert [(int(r["step"]), int(r["epoch"]), bool(r["val_wer"])) for r in rows] == [
        (4, 0, False),
        (6, 0, False),
        (6, 0, True),
        (8, 1, False),
        (12, 1, False),
        (12, 1, True),
        (16, 2, False),
        (18, 2, False),
        (18, 2, True),
    ]
    for row in rows:
        assert {key for key, value in row.items() if value} - {"step", "epoch"} == (
            VALIDATION if row["val_wer"] else TRAINING
        )


def test_figures_of_the_training(rows, tiny_run):
    cfg, _, _ = tiny_run
    training = [row for row in rows if row["loss"]]
    assert float(training[-1]["loss"]) < 0.8 * float(training[0]["loss"])
    assert all(float(row[key]) > 0 for row in training for key in ("grad_norm", "utterances_per_s", "update_ratio"))
    assert all(0 <= float(row["blank_share"]) <= 1 for row in training)
    # Linear over 2 steps, then half a cosine to 0 at step 18 (the rate that the next step would take).
    rates = [0.02 * 0.5 * (1 + np.cos(np.pi * (step - 2) / 16)) for step in (4, 6, 8, 12, 16, 18)]
    np.testing.assert_allclose([float(row["learning_rate"]) for row in training], rates, atol=1e-5)
    batches, _ = build_batches(cfg, "train_ds")
    first = batches.plan(0)[:4]
    padding = 1 - sum(batches.audio_len[b.index].sum() for b in first) / sum(b.samples * len(b.index) for b in first)
    assert float(training[0]["padding_ratio"]) == pytest.approx(padding, rel=1e-4)
    model = load_model(tiny_run[1])
    flops = sum(training_flops(model, b.samples) * len(b.index) for b in first)
    steps = [float(training[0][key]) for key in ("model_flop_per_s", "steps_per_s")]
    assert steps[0] / steps[1] == pytest.approx(flops / 4, rel=1e-4)
    peaks = [float(row["model_flop_per_s"]) / float(row["mfu"]) for row in training]
    np.testing.assert_allclose(peaks, 0.25e12, rtol=1e-4)  # trainer.peak_tflop_per_s


def test_figures_of_the_validation(rows, tiny_run):
    cfg, _, printed = tiny_run
    words = sum(len(u.text.split()) for u in build_batches(cfg, "validation_ds")[0].utterances)
    for row in (row for row in rows if row["val_wer"]):
        errors = sum(int(row[f"val_{kind}"]) for kind in ("insertions", "deletions", "substitutions"))
        assert float(row["val_wer"]) == pytest.approx(errors / words, rel=1e-4)
        assert f"val_loss {float(row['val_loss']):.3f}  val_wer {float(row['val_wer']):.2%}" in printed


@pytest.fixture(scope="module")
def page(tiny_run) -> EventAccumulator:
    return EventAccumulator(str(tiny_run[1] / "tensorboard"), size_guidance={"tensors": 0, "images": 0}).Reload()


def test_curves(rows, page, tiny_run):
    kernels = [v.path.removesuffix("/kernel") for v in load_model(tiny_run[1]).trainable_variables if len(v.shape) > 1]
    layers = {f"weight_update_ratio/{kernel}" for kernel in kernels}
    assert {"weight_update_ratio/block_1/conv_1", "weight_update_ratio/decoder"} < layers
    assert set(page.PluginTagToContent("scalars")) == layers | {f"train/{key}" for key in TRAINING} | {
        f"validation/{key.removeprefix('val_')}" for key in VALIDATION
    } | {"validation/best_loss", "validation/best_wer", "validation/best_cer"}
    columns = {"train/loss": "loss", "validation/wer": "val_wer", "train/grad_norm": "grad_norm"}
    for tag, column in columns.items():
        points = [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in page.Tensors(tag)]
        expected = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
        assert [step for step, _ in points] == [step for step, _ in expected]
        np.testing.assert_allclose([p for _, p in points], [e for _, e in expected], rtol=1e-4)
    ratios = [[float(tf.make_ndarray(event.tensor_proto)) for event in page.Tensors(layer)] for layer in layers]
    median = [float(row["update_ratio"]) for row in rows if row["update_ratio"]]
    np.testing.assert_allclose(np.median(ratios, axis=0), median, rtol=1e-4)
    best = [float(tf.make_ndarray(event.tensor_proto)) for event in page.Tensors("validation/best_loss")]
    np.testing.assert_allclose(best, np.minimum.accumulate([float(r["val_loss"]) for r in rows if r["val_loss"]]), 1e-4)


def test_one_event_file(tiny_run):
    """TensorBoard reads one file after the other, and none of them again once there is a newer one."""
    assert len(list((tiny_run[1] / "tensorboard").iterdir())) == 1


def test_rows_beyond_the_position_and_torn_ones_go(tiny_run, rows, tmp_path):
    cfg, folder, _ = tiny_run
    file = tmp_path / "metrics.csv"
    file.write_text((folder / "metrics.csv").read_text() + "1")
    RunLog(file, build_batches(cfg, "train_ds")[0], TrainingState(epoch=1, step_in_epoch=4, step=10))
    assert list(csv.DictReader(io.StringIO(file.read_text()))) == rows[:4]


def test_at_its_own_step_only_what_was_written_before_the_checkpoint_stays(tiny_run, rows, tmp_path, logged_figures):
    """Stopped between the last step of an epoch and its validation, whose row has the same step."""
    cfg, folder, _ = tiny_run
    shutil.copytree(folder / "tensorboard", tmp_path / "tensorboard")
    shutil.copy(folder / "metrics.csv", tmp_path)
    state = TrainingState(step_in_epoch=6, step=6, log={"rows": 2})
    RunLog(tmp_path / "metrics.csv", build_batches(cfg, "train_ds")[0], state, tensorboard=tmp_path / "tensorboard")
    left, curves = logged_figures(tmp_path)
    assert [(row["step"], bool(row["val_wer"])) for row in left] == [("4", False), ("6", False)]
    assert {tag.split("/")[0] for tag in curves} == {"train", "weight_update_ratio"}
    assert all([step for step, _ in points] == [4, 6] for points in curves.values())


@pytest.mark.parametrize("stopped_at", [10, 12])
@pytest.mark.medium
def test_a_run_that_goes_on_logs_what_it_would_have(tiny_run, tmp_path, logged_figures, capsys, stopped_at):
    """Inside an epoch and a window (rows at 8 and 12, an epoch at 12), and at an epoch's end."""
    cfg, folder, printed = tiny_run
    shutil.copytree(folder, tmp_path / "tiny")
    for path in CheckpointManager(tmp_path / "tiny" / "checkpoints").paths():
        if path.name[:13] > f"step={stopped_at:08d}":
            shutil.rmtree(path)
    with open(tmp_path / "tiny" / "metrics.csv", "a") as file:
        file.write("1")
    cfg = dataclasses.replace(cfg, exp_manager=dataclasses.replace(cfg.exp_manager, exp_dir=str(tmp_path)))
    train(cfg)
    rows, curves = logged_figures(folder)
    rows_again, curves_again = logged_figures(tmp_path / "tiny")
    assert rows_again == rows
    assert curves_again == curves

    def losses(text: str) -> list[str]:
        return [line[: line.index(" utt/s")].rsplit("  ", 1)[0] for line in text.splitlines() if " utt/s" in line]

    again = losses(capsys.readouterr().out)
    assert again == losses(printed)[-len(again) :] and len(again) == (2 if stopped_at == 10 else 1)
    for a, b in zip(*(CheckpointManager(f / "checkpoints").paths() for f in (folder, tmp_path / "tiny")), strict=True):
        assert (a / "position.json").read_text() == (b / "position.json").read_text()


@pytest.mark.slow
def test_stopped_between_an_epochs_last_step_and_its_validation(tiny_run, tmp_path, logged_figures, monkeypatch):
    """The row of that step is not written yet: not every fourth, but the last before the validation."""
    cfg = tiny_run[0]
    cfg = dataclasses.replace(cfg, exp_manager=dataclasses.replace(cfg.exp_manager, exp_dir=str(tmp_path)))

    def stop(saver, batch, logs=None):
        if saver.state.step == 6:
            saver.save_now()
            raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(SaveCheckpoints, "on_train_batch_end", stop)
        train(cfg)
    train(cfg)
    assert logged_figures(tmp_path / "tiny") == logged_figures(tiny_run[1])


ON_TWO_DEVICES = """
import sys
import keras, tensorflow as tf
from jasper_tf.config import load_config
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.training.run.training_state import TrainingState
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.distributed.devices import build_strategy, choose_devices
from jasper_tf.training.run.log import RunLog
from jasper_tf.training.trainer import compile_model

cfg = load_config(sys.argv[1], [])
strategy = build_strategy(choose_devices("cpu", 2))
with strategy.scope():
    model = build_model(cfg)
    compile_model(model, cfg, 12)
batches, _ = build_batches(cfg, "train_ds")

def begin(state):
    model.reset_metrics()
    log = RunLog(None, batches, state, every_n_steps=5)
    log.set_model(model)
    log.on_train_begin()
    log.on_epoch_begin(0)
    return log

@tf.function
def count():
    def on_each():
        replica = tf.distribute.get_replica_context().replica_id_in_sync_group
        model.loss_mean.update_state(tf.cast(replica, tf.float32) + 0.3, sample_weight=3.0)
        model.infeasible.update_state(1.0)
    strategy.run(on_each)

def sums(log):
    return {key: value for key, value in log.state.log.items() if key.startswith("sum/")}

state = TrainingState()
log = begin(state)
count()
state.step = state.step_in_epoch = 3
log.on_train_batch_end(2)
again = begin(TrainingState(step=3, step_in_epoch=3, log=dict(state.log)))
again.on_train_batch_end(2)
assert sums(again) == sums(log)
assert abs(float(model.loss_mean.result()) - 0.8) < 1e-6 and float(model.infeasible.result()) == 2
count()
again.on_train_batch_end(3)
assert sums(again)["sum/loss/count"] == 12 and sums(again)["sum/infeasible/total"] == 4
print("same")
"""


@pytest.mark.slow
def test_the_sums_come_back_on_two_devices(tiny_run, on_two_devices):
    """There each device holds a part of them."""
    assert on_two_devices(ON_TWO_DEVICES, str(tiny_run[1] / "config.yaml")).endswith("same\n")


def log_of(csv_file, step=9, **log) -> RunLog:
    return RunLog(csv_file, None, TrainingState(step=step, log=log))


@pytest.fixture
def table(tmp_path):
    """metrics.csv with steps 4, 6, 6, 8, 9 of 9."""
    file = tmp_path / "metrics.csv"
    lines = ["step,epoch,loss,val_wer", "4,0,1.5,", "6,0,1.2,", "6,0,,0.9", "8,1,1.1,", "9,1,1.0,"]
    file.write_bytes("\r\n".join([*lines, ""]).encode())
    return file


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda data: b"\xff\xfe" + data, "not UTF-8"),
        (lambda data: data.replace(b"6,0,1.2,", b"6,0"), "line 3"),
        (lambda data: data.replace(b"6,0,1.2,", b"6,0,1.2,,,5"), "line 3"),
        (lambda data: data.replace(b"8,1", b"eight,1"), "line 5"),
        (lambda data: data.replace(b"8,1", b",1"), "line 5"),
        (lambda data: data.replace(b"8,1", b"8" * 5000 + b",1"), "line 5"),
        (lambda data: data.replace(b"step,", b"steps,"), "first line"),
        (lambda data: data.replace(b"loss,", b""), "first line"),
        (lambda data: b"no table", "first line"),
        (lambda data: data.replace(b"8,1", b"8" * 200_000 + b",1"), "line 5"),
        (lambda data: data.replace(b"8,1", b'"8,1'), "line 5"),
    ],
)
def test_a_damaged_table_is_named_and_stays(table, damage, words):
    table.write_bytes(damage(table.read_bytes()))
    before = table.read_bytes()
    with pytest.raises(UserError, match=f"metrics.csv: .*{words}[^\n]*$"):
        log_of(table)
    assert table.read_bytes() == before


def test_a_table_cut_anywhere_in_its_last_line_loses_that_only(table):
    """A kill, or a full disk: also inside the last number, which would pass as another."""
    whole = table.read_bytes()
    last = whole.rindex(b"9,1,1.0,")
    for end in range(last, len(whole)):
        table.write_bytes(whole[:end])
        log_of(table)
        assert [row["step"] for row in csv.DictReader(io.StringIO(table.read_text()))] == ["4", "6", "6", "8"], end
    for end in range(len(b"step,epoch,loss,val_wer\r\n")):
        table.write_bytes(whole[:end])
        log_of(table)
        assert len(table.read_text().splitlines()) == 1


def test_a_column_of_an_older_version_gets_its_new_name(table):
    table.write_text(table.read_text().replace("val_wer", "padding_share"))
    log_of(table)
    rows = list(csv.DictReader(io.StringIO(table.read_text())))
    assert [row["padding_ratio"] for row in rows] == ["", "", "0.9", "", ""]
    assert "padding_share" not in rows[0]
