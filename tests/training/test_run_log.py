"""metrics.csv and the TensorBoard page of a run."""

import csv
import io

import numpy as np
import pytest
import tensorflow as tf
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from jasper_tf.training.checkpoint import Position
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.run_log import RunLog

TRAINING = {"loss", "learning_rate", "grad_norm", "utterances_per_s", "padding_share", "infeasible"}
VALIDATION = {"val_loss", "val_wer", "val_cer", "val_insertions", "val_deletions", "val_substitutions"}


@pytest.fixture(scope="module")
def rows(tiny_run):
    _, folder, _ = tiny_run
    return list(csv.DictReader(io.StringIO((folder / "metrics.csv").read_text())))


def test_rows(rows):
    # Every 4 steps and before each validation; after each validation its own.
    assert [(int(r["step"]), int(r["epoch"]), bool(r["val_wer"])) for r in rows] == [
        (4, 0, False), (6, 0, False), (6, 0, True),
        (8, 1, False), (12, 1, False), (12, 1, True),
        (16, 2, False), (18, 2, False), (18, 2, True),
    ]  # fmt: skip
    for row in rows:
        assert {key for key, value in row.items() if value} - {"step", "epoch"} == (
            VALIDATION if row["val_wer"] else TRAINING
        )


def test_figures_of_the_training(rows, tiny_run):
    cfg, _, _ = tiny_run
    training = [row for row in rows if row["loss"]]
    assert float(training[-1]["loss"]) < 0.8 * float(training[0]["loss"])
    assert all(float(row["grad_norm"]) > 0 and float(row["utterances_per_s"]) > 0 for row in training)
    # Linear over 2 steps, then half a cosine to 0 at step 18 (the rate that the next step would take).
    rates = [0.02 * 0.5 * (1 + np.cos(np.pi * (step - 2) / 16)) for step in (4, 6, 8, 12, 16, 18)]
    np.testing.assert_allclose([float(row["learning_rate"]) for row in training], rates, atol=1e-5)
    batches, _ = build_batches(cfg, "train_ds")
    first = batches.plan(0)[:4]
    padding = 1 - sum(batches.audio_len[b.index].sum() for b in first) / sum(b.samples * len(b.index) for b in first)
    assert float(training[0]["padding_share"]) == pytest.approx(padding, rel=1e-4)


def test_figures_of_the_validation(rows, tiny_run):
    cfg, _, printed = tiny_run
    words = sum(len(u.text.split()) for u in build_batches(cfg, "validation_ds")[0].utterances)
    for row in (row for row in rows if row["val_wer"]):
        errors = sum(int(row[f"val_{kind}"]) for kind in ("insertions", "deletions", "substitutions"))
        assert float(row["val_wer"]) == pytest.approx(errors / words, rel=1e-4)
        assert f"val_loss {float(row['val_loss']):.3f}  val_wer {float(row['val_wer']):.2%}" in printed


def test_tensorboard_page(rows, tiny_run):
    cfg, folder, _ = tiny_run
    page = EventAccumulator(str(folder / "tensorboard"), size_guidance={"tensors": 0, "images": 0}).Reload()
    assert set(page.Tags()["tensors"]) == {f"train/{key}" for key in TRAINING} | {
        f"validation/{key.removeprefix('val_')}" for key in VALIDATION
    } | {f"validation/{key}" for key in ("transcripts", "features", "features_masked", "alignment")}
    for tag, column in (("train/loss", "loss"), ("validation/wer", "val_wer"), ("train/grad_norm", "grad_norm")):
        points = [(event.step, float(tf.make_ndarray(event.tensor_proto))) for event in page.Tensors(tag)]
        expected = [(int(row["step"]), float(row[column])) for row in rows if row[column]]
        assert [step for step, _ in points] == [step for step, _ in expected]
        np.testing.assert_allclose([p for _, p in points], [e for _, e in expected], rtol=1e-4)
    texts = [tf.make_ndarray(event.tensor_proto).item().decode() for event in page.Tensors("validation/transcripts")]
    for utterance in build_batches(cfg, "validation_ds")[0].utterances:
        assert f"| {utterance.text} | " in texts[0]
    for name in ("features", "features_masked", "alignment"):
        width, height, png = tf.make_ndarray(page.Tensors(f"validation/{name}")[-1].tensor_proto)
        picture = tf.io.decode_png(png).numpy()
        assert picture.shape[:2] == (int(height), int(width)) and picture.std() > 10, name


def test_rows_beyond_the_position_and_torn_ones_go(tiny_run, rows, tmp_path):
    cfg, folder, _ = tiny_run
    file = tmp_path / "metrics.csv"
    file.write_text((folder / "metrics.csv").read_text() + "1")
    RunLog(file, build_batches(cfg, "train_ds")[0], Position(epoch=1, step_in_epoch=4, step=10))
    assert list(csv.DictReader(io.StringIO(file.read_text()))) == rows[:4]
