"""train.py from a NeMo archive: log, frozen weights, and resuming without the archive."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from jasper_tf import load_config
from jasper_tf.errors import UserError
from jasper_tf.inference.load_model import load_model
from jasper_tf.interop.nemo.model import export_nemo
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.trainer import train

pytestmark = pytest.mark.medium

ROOT = Path(__file__).parents[2]


@pytest.fixture
def overrides(tiny_config, tmp_path):
    """configs/finetune.yaml on the tiny data, from an archive of the tiny model; 2 epochs of 6 steps."""
    cfg = tiny_config()
    assert export_nemo(build_model(cfg), cfg, tmp_path / "small.nemo") == []
    sections = {"train_ds": cfg.model.train_ds, "validation_ds": cfg.model.validation_ds}
    data = [f"model.{name}.manifest_filepath={section.manifest_filepath}" for name, section in sections.items()]
    return [
        *data,
        f"init_from_nemo_model={tmp_path}/small.nemo",
        f"exp_manager.exp_dir={tmp_path}/runs",
        "trainer.accelerator=cpu",
        "trainer.max_epochs=2",
        "exp_manager.create_tensorboard_logger=false",
        "model.train_ds.batch_size=4",
        "exp_manager.checkpoint_callback_params.save_top_k=-1",
    ]


def weights(path) -> dict[str, np.ndarray]:
    return {v.path: np.array(v) for v in load_model(path).weights}


@pytest.mark.slow
def test_from_an_archive_and_on_without_it(overrides, run_here, tmp_path):
    status, printed, err = run_here(ROOT / "configs/finetune.yaml", *overrides, "model.freeze=encoder")
    assert status == 0, err
    run = tmp_path / "runs" / "finetune"
    start = weights(tmp_path / "small.nemo")
    total = sum(v.size for v in start.values())
    for line in (
        "finetune.yaml, taken from the pretrained model: sample_rate, labels, preprocessor, encoder\n",
        f"loaded: {len(start)} tensors ({total:,} values), running statistics among them; the labels are the same,",
        "trained: 2 tensors (725 values)\n",
        "725 trainable parameters, 12 steps of 4 utterances\n",
        "epoch 2/2  step 12/12",
    ):
        assert line in printed and line in (run / "log.txt").read_text(), printed
    end = weights(run)
    assert end.keys() == start.keys()
    assert {k for k in end if not np.array_equal(end[k], start[k])} == {"decoder/kernel", "decoder/bias"}

    # The archive is gone, and with it nothing that the run's own configuration and checkpoints do not hold.
    (tmp_path / "small.nemo").unlink()
    first, last = CheckpointManager(run / "checkpoints").paths()
    with np.load(last / "variables.npz") as stored:
        before = dict(stored)
    shutil.rmtree(last)
    status, again, err = run_here(run / "config.yaml")
    assert status == 0, err
    assert "resuming at epoch 2, step 6" in again and "trained: 2 tensors" in again
    assert "loaded:" not in again and "taken from" not in again
    with np.load(CheckpointManager(run / "checkpoints").paths()[-1] / "variables.npz") as stored:
        assert stored.files == list(before)
        for key in stored.files:
            np.testing.assert_array_equal(stored[key], before[key], err_msg=key)


@pytest.mark.slow
def test_other_labels_and_batch_norms_as_they_are(overrides, tmp_path, capsys):
    """The file's own `freeze`; a run that stopped before its first checkpoint loads the archive again."""
    cfg = load_config(
        ROOT / "configs/finetune.yaml",
        [
            *overrides,
            "model.labels=[' ', e, t, a, o, '#']",
            "model.train_ds.unknown_characters=remove_character",
            "model.validation_ds.unknown_characters=remove_character",
            "trainer.max_epochs=1",
        ],
    )
    for expected in ("new head: 2 tensors (175 values)", "no checkpoint found; starting at step 0"):
        run = train(cfg)
        printed = capsys.readouterr().out
        assert expected in printed and "labels differ (+ '#', - 'b' 'c' 'd'" in printed, printed
        start, end = weights(tmp_path / "small.nemo"), weights(run)
        assert load_model(run).labels == [" ", "e", "t", "a", "o", "#"]
        kept = {k for k in start if k in end and np.array_equal(start[k], end[k])}
        assert kept == {k for k in start if "norm_" in k}
        shutil.rmtree(run / "checkpoints")


def test_what_does_not_fit_leaves_no_run(overrides, tmp_path):
    for wrong, words in [
        ("model.encoder.jasper.2.filters=96", "model.encoder.jasper.2.filters: 96, but .*small.nemo has 24"),
        ("model.freeze=['*norms*']", r"model.freeze: '\*norms\*' matches no trainable variable"),
    ]:
        with pytest.raises(UserError, match=words):
            train(load_config(ROOT / "configs/finetune.yaml", [*overrides, wrong]))
    assert not (tmp_path / "runs").exists()
