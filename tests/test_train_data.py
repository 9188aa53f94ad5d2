"""train.py on several sets, batched by seconds, beside recordings that cannot be read."""

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from jasper_tf.training.loop import evaluate
from jasper_tf.training.run.checkpoint import CheckpointFolder
from jasper_tf.training.trainer import read_data, train


def split_manifest(path: str, folder: Path, name: str, bad: int | None = None) -> list[str]:
    """Two halves of a manifest; line `bad` of the first names a file that is no sound."""
    lines = [json.loads(line) for line in Path(path).read_text().splitlines()]
    if bad is not None:
        (folder / "bad.wav").write_bytes(b"no sound")
        lines[bad] |= {"audio_filepath": str(folder / "bad.wav")}
    files = []
    for half, part in enumerate((lines[: len(lines) // 2], lines[len(lines) // 2 :])):
        files.append(str(folder / f"{name}{half}.jsonl"))
        Path(files[-1]).write_text("".join(json.dumps(line) + "\n" for line in part))
    return files


@pytest.fixture
def overrides(tiny_run, tmp_path):
    model = tiny_run[0].model
    train = split_manifest(model.train_ds.manifest_filepath, tmp_path, "train", bad=2)
    dev = split_manifest(model.validation_ds.manifest_filepath, tmp_path, "dev", bad=1)
    sets = [{"manifest_filepath": train[0], "weight": 1}, {"manifest_filepath": train[1], "weight": 2}]
    return [
        f"exp_manager.exp_dir={tmp_path}",
        "model.train_ds.manifest_filepath=null",
        f"model.train_ds.input_cfg={json.dumps(sets)}",
        "model.train_ds.batch_duration=4",
        "model.train_ds.augmentor={speed: {prob: 1.0}}",
        "model.train_ds.on_bad_audio=skip",
        "model.train_ds.max_bad_audio=0.1",
        f"model.validation_ds.manifest_filepath={json.dumps({'near': dev[0], 'far': dev[1]})}",
        "model.validation_ds.on_bad_audio=skip",
        "model.validation_ds.max_bad_audio=0.5",
        "exp_manager.checkpoint_callback_params={monitor: val_wer_far}",
        "trainer.max_epochs=3",
        "trainer.ema={decay: 0.9}",
    ]


def test_a_run_on_all_of_it_and_its_resume(tiny_config, overrides, tmp_path, capsys):
    cfg = tiny_config(*overrides, "exp_manager.name=whole")
    training, _, total_steps, _ = read_data(cfg, 1)
    assert total_steps == sum(len(training.plan(epoch)) for epoch in range(3))
    run = train(cfg)
    out = capsys.readouterr().out
    assert f"step {total_steps}/{total_steps}" in out
    assert out.count("bad.wav: cannot be decoded") == 2, out
    assert "model.train_ds: 1 of 22 recordings left out, unreadable" in out
    assert "model.validation_ds: 1 of 2 recordings left out, unreadable" in out
    rows = [row for row in csv.DictReader((run / "metrics.csv").open()) if row["val_wer"]]
    assert len(rows) == 3
    for row in rows:
        for kind in ("wer", "cer", "loss"):
            pooled, near, far = (float(row[f"val_{kind}{name}"]) for name in ("", "_near", "_far"))
            assert min(near, far) <= pooled <= max(near, far)
            assert row[f"val_{kind}_near_ema"] and row[f"val_{kind}_far_ema"]
    assert all("val_wer_far=" in p.name for p in CheckpointFolder(run / "checkpoints").paths())

    # Stopped inside an epoch and gone on.
    rest = (*overrides, "exp_manager.name=stopped", "exp_manager.resume_if_exists=true")
    train(tiny_config(*rest, "exp_manager.max_time_per_run=0.001"))
    again = train(tiny_config(*rest))
    assert "going on at epoch 1, step 1" in capsys.readouterr().out
    newest = [CheckpointFolder(folder / "checkpoints").paths()[-1] for folder in (run, again)]
    with np.load(newest[0] / "variables.npz") as one, np.load(newest[1] / "variables.npz") as other:
        for key in one.files:
            np.testing.assert_array_equal(one[key], other[key])


def test_error_rates_of_sets_add_up_to_that_of_all(tiny_run, tiny_config, overrides):
    """Against the same utterances as one set, scored by Keras."""
    from jasper_tf.inference.load_model import load_model
    from jasper_tf.training.trainer import compile_model

    cfg = tiny_config(*overrides)
    _, validation, total_steps, _ = read_data(cfg, 1)
    model = load_model(tiny_run[1])
    compile_model(model, cfg, total_steps)
    figures = evaluate(model, validation)
    validation.sets = {}
    whole = model.evaluate(validation.dataset(), return_dict=True, verbose=0)
    for key in ("loss", "wer", "cer"):
        assert figures[key] == pytest.approx(whole[key], rel=1e-5)
    words = sum(len(u.text.split()) for i, u in enumerate(validation.utterances) if i != 1)
    errors = sum(figures[key] for key in ("insertions", "deletions", "substitutions"))
    assert figures["wer"] == pytest.approx(errors / words)
