"""Intermediate CTC: blocks before the last learn the same texts, and nothing else changes."""

import shutil

import keras
import numpy as np
import pytest

from jasper_tf.config import load_config
from jasper_tf.inference.load_model import load_model
from jasper_tf.model.jasper_ctc import JasperCTC, build_model
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.run.checkpoint_manager import CheckpointManager
from jasper_tf.training.trainer import train

# Nothing that draws random numbers; as many filters wherever the head reads.
CERTAIN = ["model.spec_augment=null", "model.preprocessor.dither=0.0"] + [
    f"model.encoder.jasper.{i}.{key}" for i in range(3) for key in ("dropout=0.0", "filters=24")
]
INTERCTC = "model.interctc={loss_weights: [0.2, 0.3], apply_at_layers: [1, 0]}"
NAMES = ("inter_ctc_loss_l1", "inter_ctc_loss_l0", "final_loss")
SHARES = (0.2, 0.3, 0.5)


@pytest.fixture(scope="module")
def batch(tiny_config):
    batches, _ = build_batches(tiny_config("model.train_ds.buckets=1"), "train_ds")
    return next(iter(batches.dataset()))


def cut_after(model: JasperCTC, blocks: int) -> JasperCTC:
    """The same weights in a model of the first blocks alone."""
    config = model.get_config()
    encoder = config["encoder"] | {"jasper": config["encoder"]["jasper"][:blocks]}
    short = JasperCTC(**{**config, "encoder": encoder, "interctc": None})
    values = {v.path: v for v in model.weights}
    for variable in short.weights:
        variable.assign(values[variable.path])
    return short


def step(model: JasperCTC, batch, **settings) -> tuple[dict, dict[str, np.ndarray]]:
    """The figures of one step of SGD at rate 1, and the gradients."""
    model.compile(keras.optimizers.SGD(1.0), run_eagerly=True, **settings)
    before = {v.path: np.array(v) for v in model.trainable_variables}
    figures = model.train_on_batch(*batch, return_dict=True)
    figures |= {metric.name: float(metric.result()) for metric in model.metrics}
    return figures, {v.path: before[v.path] - np.array(v) for v in model.trainable_variables}


def test_loss_and_gradient_are_those_of_the_cut_models(tiny_config, batch):
    model = build_model(tiny_config(*CERTAIN, INTERCTC))
    alone = [step(cut_after(model, blocks), batch) for blocks in (2, 1, 3)]
    figures, gradients = step(model, batch)
    for name, (of_one, _) in zip(NAMES, alone, strict=True):
        assert figures[name] == pytest.approx(of_one["loss"], rel=1e-5)
    losses = [figures["loss"] for figures, _ in alone]
    assert figures["loss"] == pytest.approx(np.dot(SHARES, losses), rel=1e-5)
    assert set(gradients) == set(alone[2][1])
    for path, gradient in gradients.items():
        expected = sum(share * g[path] for share, (_, g) in zip(SHARES, alone, strict=True) if path in g)
        np.testing.assert_allclose(gradient, expected, atol=1e-4 * np.abs(expected).max(), err_msg=path)


@pytest.mark.medium
def test_accumulated_it_is_the_large_batchs(tiny_config, batch):
    one, other = (build_model(tiny_config(*CERTAIN, INTERCTC)) for _ in range(2))
    for model in (one, other):
        for block in model.encoder.blocks:
            for layer in (*block.normalizations, *block.residual_normalizations):
                layer.trainable = False
    (figures, gradients), (in_parts, accumulated) = step(one, batch), step(other, batch, accumulate_grad_batches=3)
    for name in ("loss", *NAMES):
        assert figures[name] == pytest.approx(in_parts[name], rel=1e-5)
    for path, gradient in gradients.items():
        np.testing.assert_allclose(accumulated[path], gradient, atol=1e-4 * np.abs(gradient).max(), err_msg=path)


@pytest.mark.medium
def test_outside_training_the_model_is_the_one_without(tiny_config, batch, tmp_path):
    """The same weights, the same answers, the same loss in validation; saved, it goes on with its losses."""
    with_it, without = build_model(tiny_config(*CERTAIN, INTERCTC)), build_model(tiny_config(*CERTAIN))
    step(with_it, batch)
    assert [v.path for v in with_it.variables if "decoder" in v.path] == ["decoder/kernel", "decoder/bias"]
    without.set_weights(with_it.get_weights())
    for model in (with_it, without):
        model.compile(keras.optimizers.SGD(1.0), run_eagerly=True)
    x, y = batch
    np.testing.assert_array_equal(with_it(x)["logits"], without(x)["logits"])
    results = [model.evaluate(x, y, batch_size=4, verbose=0, return_dict=True) for model in (with_it, without)]
    assert results[0] == results[1] and results[0]["loss"] > 0

    with_it.save(tmp_path / "model.keras")
    loaded = load_model(tmp_path / "model.keras")
    figures = [step(model, batch)[0] for model in (with_it, loaded)]
    assert figures[0] == figures[1] and set(NAMES) < set(figures[0])


@pytest.mark.medium
def test_a_run_shows_each_loss(tiny_config, tmp_path, logged_figures):
    """In metrics.csv and as curves; killed between two rows and gone on with, they are as if it had not been."""
    whole = train(
        tiny_config(
            *CERTAIN,
            INTERCTC,
            "trainer.log_every_n_steps=2",
            "exp_manager.create_tensorboard_logger=true",
            f"exp_manager.exp_dir={tmp_path}",
            "exp_manager.resume_if_exists=true",
            "exp_manager.checkpoint_callback_params={every_n_train_steps: 3, save_top_k: -1}",
        )
    )
    rows, curves = logged_figures(whole)
    training = [row for row in rows if row["loss"]]
    for row in training:
        assert float(row["loss"]) == pytest.approx(np.dot(SHARES, [float(row[name]) for name in NAMES]), rel=1e-4)
    for name in NAMES:
        assert [v for _, v in curves[f"train/{name}"]] == pytest.approx([float(r[name]) for r in training], rel=1e-5)
    for path in CheckpointManager(whole / "checkpoints").paths():
        if path.name[:13] > "step=00000003":
            shutil.rmtree(path)
    train(load_config(whole / "config.yaml"))
    assert logged_figures(whole) == (rows, curves)
