"""The whole model: padding changes nothing, saving loses nothing, and a step is the large batch's step."""

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.audio.load import load_audio
from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.errors import UserError
from jasper_tf.inference.load_model import load_model
from jasper_tf.losses.ctc import CTCLoss
from jasper_tf.metrics.keras_metric import ErrorRate
from jasper_tf.model.jasper_ctc import JasperCTC, build_model
from jasper_tf.optim.novograd import NovoGrad
from jasper_tf.training.datasets import build_batches, build_dataset

# Nothing that draws random numbers, so that two ways to compute a step can be compared.
CERTAIN = ["model.spec_augment=null", "model.preprocessor.dither=0.0"] + [
    f"model.encoder.jasper.{i}.dropout=0.0" for i in range(3)
]


def with_statistics(model: JasperCTC) -> JasperCTC:
    """Batch norm as after a training: neither 0 and 1 nor the same in each channel."""
    draw = np.random.default_rng(0)
    for variable in model.weights:
        if variable.name in ("moving_mean", "beta"):
            variable.assign(draw.normal(0, 0.3, variable.shape))
        if variable.name in ("moving_variance", "gamma"):
            variable.assign(draw.uniform(0.5, 1.5, variable.shape))
    return model


def freeze_batch_norm(model: JasperCTC) -> None:
    for block in model.encoder.blocks:
        for layer in (*block.normalizations, *block.residual_normalizations):
            layer.trainable = False


def trainer(model: JasperCTC, **settings) -> JasperCTC:
    """Compiled; eager, because to trace a step takes longer than a few steps do."""
    settings = {"optimizer": NovoGrad(0.01, betas=(0.8, 0.5), weight_decay=0.001), "run_eagerly": True, **settings}
    model.compile(metrics=[ErrorRate(model.tokenizer, "word"), ErrorRate(model.tokenizer, "character")], **settings)
    return model


@pytest.fixture(scope="module")
def model(tiny_config) -> JasperCTC:
    return with_statistics(build_model(tiny_config()))


@pytest.fixture(scope="module")
def recordings(spoken_corpus) -> list[np.ndarray]:
    utterances = sorted(read_manifest(str(spoken_corpus / "test.jsonl")), key=lambda u: u.duration_s)
    return [load_audio(u.path) for u in utterances]


@pytest.fixture(scope="module")
def batch(tiny_config):
    """One batch of 4 utterances of different lengths, as (x, y)."""
    batches, _ = build_batches(tiny_config("model.train_ds.buckets=1"), "train_ds")
    return next(iter(batches.dataset()))


def test_alone_and_padded_in_a_batch(model, recordings):
    lengths = [len(recordings[i]) for i in (0, 5, -1)]
    assert lengths[0] < lengths[1] < lengths[2]
    texts, logits, logit_len = model.recognize(*pad_audio([recordings[i] for i in (0, 5, -1)]))
    for row, i in enumerate((0, 5, -1)):
        text, alone, alone_len = model.recognize(*pad_audio([recordings[i]]))
        frames = int(alone_len[0])
        assert frames == logit_len[row] == model.output_frames(lengths[row] / 16000)
        np.testing.assert_allclose(logits[row, :frames], alone[0, :frames], atol=1e-4)
        assert text[0] == texts[row] and len(set(text[0].numpy())) > 1


def test_transcribe_takes_paths_and_arrays_in_order(model, spoken_corpus, recordings, tmp_path):
    utterances = sorted(read_manifest(str(spoken_corpus / "test.jsonl")), key=lambda u: u.duration_s)
    mixed = [utterances[0].path, recordings[9], utterances[5].path]
    texts = [*map(str, model.transcribe(mixed, batch_size=2))]
    assert texts == [model.transcribe(recordings[i]).text for i in (0, 9, 5)]
    assert len(set(texts)) == 3
    assert model.transcribe([]) == []
    assert model.transcribe(utterances[0].path).text == texts[0]
    with pytest.raises(UserError, match="nowhere.wav: no such file"):
        model.transcribe([str(tmp_path / "nowhere.wav")])


@pytest.mark.medium
def test_saved_model_goes_on_as_if_it_had_not_been_saved(tiny_config, batch, tmp_path):
    # Without random draws: a .keras file does not hold the states of Keras' generators (a run's checkpoint does).
    model = trainer(build_model(tiny_config(*CERTAIN)), gradient_clip_val=1.0, accumulate_grad_batches=2)
    model.train_on_batch(*batch)
    model.save(tmp_path / "m.keras")
    loaded = keras.saving.load_model(tmp_path / "m.keras")
    loaded.run_eagerly = True
    assert isinstance(loaded, JasperCTC) and loaded.get_config() == model.get_config()
    assert (loaded.gradient_clip_val, loaded.accumulate_grad_batches) == (1.0, 2)
    assert loaded.ctc.get_config() == model.ctc.get_config()
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    assert [m.name for m in loaded.error_rates] == ["wer", "cer"]
    for _ in range(2):
        model.train_on_batch(*batch)
        loaded.train_on_batch(*batch)
    for a, b in zip(
        model.weights + model.optimizer.variables, loaded.weights + loaded.optimizer.variables, strict=True
    ):
        np.testing.assert_array_equal(a, b, err_msg=a.path)
    plain = load_model(tmp_path / "m.keras")
    assert not plain.compiled and len(plain.weights) == len(model.weights)


@pytest.mark.medium
def test_fit_with_stock_callbacks(tiny_config, tmp_path):
    cfg = tiny_config()
    model = trainer(build_model(cfg), run_eagerly=False)
    callbacks = [
        keras.callbacks.TensorBoard(tmp_path / "tb"),
        keras.callbacks.ModelCheckpoint(tmp_path / "best.keras", monitor="val_wer", mode="min", save_best_only=True),
        keras.callbacks.EarlyStopping("val_loss", patience=5),
    ]
    validation = build_dataset(cfg, "validation_ds")
    history = model.fit(build_dataset(cfg), validation_data=validation, epochs=3, callbacks=callbacks, verbose=0)
    figures = history.history
    assert set(figures) == {"loss", "grad_norm", "infeasible"} | {
        f"val_{k}" for k in ("loss", "wer", "cer", "infeasible")
    }
    assert figures["loss"][-1] < 0.9 * figures["loss"][0]
    again = model.evaluate(validation, return_dict=True, verbose=0)
    assert {f"val_{k}": v for k, v in again.items()} == pytest.approx(
        {k: v[-1] for k, v in figures.items() if "val_" in k}
    )
    assert isinstance(load_model(tmp_path / "best.keras"), JasperCTC)
    assert list((tmp_path / "tb").rglob("events*"))


def test_accumulated_steps_are_the_large_batchs(tiny_config, batch):
    """20 steps of 4 utterances, in parts of 1, 1 and 2."""
    x, y = batch
    # Unequal weights: the mean over the utterances, not the mean of the micro-batches' means.
    weight = tf.constant([1.0, 0.5, 0.0, 2.0])
    whole, split = (with_statistics(build_model(tiny_config(*CERTAIN))) for _ in range(2))
    for model, k in ((whole, 1), (split, 3)):
        freeze_batch_norm(model)
        trainer(model, accumulate_grad_batches=k, run_eagerly=False)
    for _ in range(20):
        a = whole.train_on_batch(x, y, weight, return_dict=True)
        b = split.train_on_batch(x, y, weight, return_dict=True)
        assert a["loss"] == pytest.approx(b["loss"], rel=1e-5)
    for one, other in zip(whole.weights, split.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.path)


def test_accumulated_steps_hold_the_activations_of_one_part(tiny_config, batch):
    """Every part begins after the gradients of the one before; else TensorFlow may run them side by side."""
    x, y = ({key: tf.constant(value) for key, value in part.items()} for part in batch)
    model = trainer(build_model(tiny_config(*CERTAIN)), accumulate_grad_batches=3)
    step = tf.function(lambda audio: model.train_step(({**x, "audio": audio}, y)), autograph=False)
    graph = step.get_concrete_function(x["audio"]).graph
    (audio,) = (op.outputs[0] for op in graph.inputs[0].consumers() if op.type == "PlaceholderWithDefault")
    parts = [op for op in audio.consumers() if op.type == "StridedSlice" and len(op.outputs[0].shape) == 2]
    assert len(parts) == 3
    for before, part in itertools.pairwise(parts):
        assert before in ancestors(part)


def ancestors(op):
    """All operations that run before one of a graph."""
    found, waiting = set(), [op]
    while waiting:
        one = waiting.pop()
        for earlier in [*(tensor.op for tensor in one.inputs), *one.control_inputs]:
            if earlier not in found:
                found.add(earlier)
                waiting.append(earlier)
    return found


@pytest.mark.medium
@pytest.mark.parametrize("settings", [{}, {"run_eagerly": False}, {"run_eagerly": False, "jit_compile": True}])
def test_fewer_utterances_than_parts(tiny_config, batch, settings):
    """The last batch of an epoch: empty micro-batches leave no trace in weights and running statistics."""
    x, y = ({k: v[:1] for k, v in part.items()} for part in batch)
    alone, with_empty = (with_statistics(build_model(tiny_config(*CERTAIN))) for _ in range(2))
    trainer(alone)
    trainer(with_empty, accumulate_grad_batches=2, **settings)
    for model in (alone, with_empty):
        for _ in range(2):
            model.train_on_batch(x, y)
    for one, other in zip(alone.weights, with_empty.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5, err_msg=one.path)


@pytest.mark.slow
def test_compiled_by_xla_the_step_is_the_same(tiny_config, batch):
    plain, compiled = (with_statistics(build_model(tiny_config(*CERTAIN))) for _ in range(2))
    figures = []
    for model, jit in ((plain, False), (compiled, True)):
        trainer(model, run_eagerly=False, jit_compile=jit, accumulate_grad_batches=2, gradient_clip_val=1.0)
        figures.append(model.fit(tf.data.Dataset.from_tensors(batch).repeat(4), verbose=0).history)
    for key, values in figures[0].items():
        np.testing.assert_allclose(figures[1][key], values, rtol=1e-4, err_msg=key)
    for one, other in zip(plain.weights, compiled.weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4, err_msg=one.path)


def test_an_overflow_in_half_precision_leaves_the_step_out(tiny_config, batch):
    keras.config.set_dtype_policy("mixed_float16")
    try:
        model = trainer(with_statistics(build_model(tiny_config(*CERTAIN))))
        before = [np.array(w) for w in model.trainable_weights]
        model.optimizer.build(model.trainable_variables)
        model.optimizer.dynamic_scale.assign(2.0**40)
        model.train_on_batch(*batch)
        for a, b in zip(before, model.trainable_weights, strict=True):
            np.testing.assert_array_equal(a, b)
        assert float(model.optimizer.dynamic_scale) == 2.0**39
        model.optimizer.dynamic_scale.assign(2.0**10)
        model.train_on_batch(*batch)
        assert any((a != np.array(b)).any() for a, b in zip(before, model.trainable_weights, strict=True))
    finally:
        keras.config.set_dtype_policy("float32")


@pytest.mark.parametrize("reduction", ["mean_batch", "mean_volume", "sum"])
def test_rows_of_weight_0_leave_loss_and_gradient(tiny_config, batch, reduction):
    x, y = batch
    short_x, short_y = ({k: v[:3] for k, v in part.items()} for part in (x, y))
    results = []
    for data in ((short_x, short_y), (x, y, tf.constant([1.0, 1.0, 1.0, 0.0]))):
        model = with_statistics(build_model(tiny_config(*CERTAIN)))
        freeze_batch_norm(model)
        trainer(model, optimizer=keras.optimizers.SGD(0.01), loss=CTCLoss(reduction))
        step = model.train_on_batch(*data, return_dict=True)
        results.append((step, model.test_on_batch(*data, return_dict=True), model.get_weights()))
    (step, test, weights), (padded_step, padded_test, padded_weights) = results
    assert step == pytest.approx(padded_step, rel=1e-5)
    assert test == pytest.approx(padded_test, rel=1e-5)
    for a, b in zip(weights, padded_weights, strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_weights_of_arrays_are_those_of_utterances(tiny_config, batch):
    """Keras repeats them for each entry of a dict of labels."""
    x, y = ({key: value.numpy() for key, value in part.items()} for part in batch)
    model = trainer(with_statistics(build_model(tiny_config(*CERTAIN))))
    weight = np.array([1.0, 1.0, 0.0, 0.0])
    weighted = model.evaluate(x, y, sample_weight=weight, batch_size=4, verbose=0, return_dict=True)
    short_x, short_y = ({key: value[:2] for key, value in part.items()} for part in (x, y))
    expected = model.evaluate(short_x, short_y, batch_size=4, verbose=0, return_dict=True)
    assert weighted == pytest.approx(expected, rel=1e-5)
    assert model.fit(x, y, sample_weight=0 * weight, batch_size=4, verbose=0).history["loss"] == [0.0]


def test_batch_without_weight_changes_nothing_but_decay(tiny_config, batch):
    model = with_statistics(build_model(tiny_config(*CERTAIN)))
    freeze_batch_norm(model)
    trainer(model, optimizer=keras.optimizers.SGD(0.1))
    before = model.get_weights()
    assert model.train_on_batch(*batch, tf.zeros(4), return_dict=True)["loss"] == 0
    assert model.test_on_batch(*batch, tf.zeros(4), return_dict=True)["loss"] == 0
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_gradient_is_clipped_by_its_global_norm(tiny_config, batch):
    moved, norms = [], []
    for clip in (None, 0.5):
        model = with_statistics(build_model(tiny_config(*CERTAIN)))
        before = [w.numpy() for w in model.trainable_weights]
        trainer(model, optimizer=keras.optimizers.SGD(1.0), gradient_clip_val=clip)
        norms.append(model.train_on_batch(*batch, return_dict=True)["grad_norm"])
        moved.append([b - w.numpy() for b, w in zip(before, model.trainable_weights, strict=True)])
    free, clipped = (np.sqrt(sum((m.astype(float) ** 2).sum() for m in move)) for move in moved)
    assert norms[0] == pytest.approx(norms[1], rel=1e-5)
    assert free == pytest.approx(norms[0], rel=1e-3) and free > 0.6
    assert clipped == pytest.approx(0.5, rel=1e-3)
    for a, b in zip(*moved, strict=True):
        np.testing.assert_allclose(a * 0.5 / free, b, atol=1e-4)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.medium
def test_mixed_precision(tiny_config, batch, policy):
    keras.config.set_dtype_policy(policy)
    try:
        model = trainer(with_statistics(build_model(tiny_config(*CERTAIN))))
        mixed = [model.train_on_batch(*batch, return_dict=True) for _ in range(3)]
        assert model.encoder.compute_dtype != "float32"
        assert all(w.dtype == "float32" for w in model.weights)
        assert model(batch[0])["logits"].dtype == tf.float32
    finally:
        keras.config.set_dtype_policy("float32")
    model = trainer(with_statistics(build_model(tiny_config(*CERTAIN))))
    plain = [model.train_on_batch(*batch, return_dict=True) for _ in range(3)]
    assert mixed[0]["loss"] == pytest.approx(plain[0]["loss"], rel=0.05)
    assert all(np.isfinite(step["grad_norm"]) and np.isfinite(step["loss"]) for step in mixed)


def test_infeasible_utterances_are_counted_and_cost_nothing(tiny_config, batch):
    x, y = batch
    model = trainer(with_statistics(build_model(tiny_config(*CERTAIN))))
    labels = np.tile(np.arange(300, dtype=np.int32) % 26, (4, 1))
    step = model.train_on_batch(x, {"labels": labels, "label_len": np.array([300, 300, 3, 300])}, return_dict=True)
    assert step["infeasible"] == 3
    assert np.isfinite(step["loss"]) and step["loss"] > 0
    none = model.train_on_batch(x, {"labels": labels, "label_len": np.full(4, 300)}, return_dict=True)
    assert none["grad_norm"] < step["grad_norm"]


def test_spectrograms_shows_what_the_encoder_sees(tiny_config, batch):
    model = build_model(tiny_config())
    clean, masked, length = model.spectrograms(batch[0], training=False)
    np.testing.assert_array_equal(clean, masked)
    _, masked, _ = model.spectrograms(batch[0], training=True)
    assert 0.05 < np.mean(np.asarray(masked) == 0) - np.mean(np.asarray(clean) == 0)
    assert clean.shape[2] == 16 and int(length[0]) <= clean.shape[1]
