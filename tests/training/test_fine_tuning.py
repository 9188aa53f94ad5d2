"""Fine-tuning: pretrained sections and weights, new head, frozen variables, errors."""

import json
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import yaml

from jasper_tf import load_config
from jasper_tf.config import config_from_dict
from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.errors import UserError
from jasper_tf.inference.load_model import load_model
from jasper_tf.interop.nemo.model import export_nemo
from jasper_tf.model.jasper_ctc import build_model
from jasper_tf.training.datasets import build_batches
from jasper_tf.training.fine_tuning import copy_weights, freeze, read_pretrained
from jasper_tf.training.trainer import compile_model

FILE = Path(__file__).parents[2] / "configs" / "finetune.yaml"
OTHER_LABELS = [*" abcdefghijklmnopqrstuvwxyz", "é", "ß"]


@pytest.fixture(scope="module")
def pretrained(tiny_run):
    return load_model(tiny_run[1])


@pytest.fixture(scope="module")
def fine_tune(tiny_run, tiny_config):
    """`fine_tune("a.b=c", ...)`: configs/finetune.yaml with the tiny data, from the tiny run."""
    cfg = tiny_config()
    sections = {"train_ds": cfg.model.train_ds, "validation_ds": cfg.model.validation_ds}
    data = [f"model.{name}.manifest_filepath={section.manifest_filepath}" for name, section in sections.items()]
    start = [f"init_from_pretrained_model={tiny_run[1]}", "seed=7", "model.freeze=null"]
    return lambda *overrides: load_config(FILE, [*start, *data, *overrides])


def values(model: keras.Model) -> dict[str, np.ndarray]:
    return {v.path: np.array(v) for v in model.weights}


def changed(model: keras.Model, before: dict[str, np.ndarray]) -> set[str]:
    return {path for path, value in values(model).items() if not np.array_equal(value, before[path])}


def step(model, cfg, freezing) -> tuple[dict, str | None]:
    """Freezes, takes two optimizer steps with a strong decay; the weights before, and the report."""
    line = freeze(model, freezing)
    compile_model(model, cfg, 10)
    before = values(model)
    batches, _ = build_batches(cfg, "train_ds")
    assert isinstance(batches, SpeechBatches)
    model.fit(batches.dataset().take(2), steps_per_epoch=2, verbose=0)
    return before, line


def test_what_the_file_leaves_out_comes_from_the_model(fine_tune, tiny_run):
    cfg = fine_tune()
    assert cfg.taken_over == ["sample_rate", "labels", "preprocessor", "encoder"]
    trained = tiny_run[0].model
    assert (cfg.model.labels, cfg.model.encoder) == (trained.labels, trained.encoder)
    assert cfg.model.preprocessor == trained.preprocessor and cfg.model.decoder.num_classes == 28
    text = yaml.safe_dump(cfg.to_dict(), allow_unicode=True)
    again = config_from_dict(yaml.safe_load(text.replace(str(tiny_run[1]), "/gone")))
    assert again.model == cfg.model and again.taken_over == []
    cfg = fine_tune("model.labels=[x, y]", "model.encoder.jasper.1.dropout=0.4", "model.preprocessor.dither=0")
    assert cfg.taken_over == ["sample_rate", "preprocessor", "encoder"]
    assert cfg.model.labels == ["x", "y"] and cfg.model.encoder.jasper[1].dropout == 0.4
    assert read_pretrained(cfg) is not None


def test_every_weight_is_loaded(fine_tune, pretrained):
    cfg = fine_tune()
    model = build_model(cfg)
    assert np.abs(model.decoder.kernel - pretrained.decoder.kernel).max() > 0.1
    line = copy_weights(read_pretrained(cfg), model)
    assert values(model).keys() == values(pretrained).keys()
    assert changed(model, values(pretrained)) == set()
    assert np.ptp(model.encoder.blocks[1].normalizations[0].moving_mean) > 0.01
    total = sum(v.size for v in values(model).values())
    assert line == (
        f"loaded: {len(model.weights)} tensors ({total:,} values), running statistics among them; "
        "the labels are the same, so the head is loaded too; new: none"
    )
    audio = np.random.default_rng(0).normal(size=(1, 16000)).astype(np.float32)
    assert model.transcribe([audio[0]]) == pretrained.transcribe([audio[0]])


def test_other_labels_get_a_new_head(fine_tune, pretrained):
    cfg = fine_tune(f"model.labels={json.dumps(OTHER_LABELS)}")
    model = build_model(cfg)
    head = {path: value for path, value in values(model).items() if path.startswith("decoder/")}
    line = copy_weights(read_pretrained(cfg), model)
    assert changed(model.encoder, values(pretrained)) == set()
    assert head.keys() == {"decoder/kernel", "decoder/bias"} and changed(model.decoder, head) == set()
    assert line.endswith("""labels differ (+ 'é' 'ß', - "'"), new head: 2 tensors (750 values)""")
    swapped = ["b", "a", *pretrained.labels]
    swapped = list(dict.fromkeys(swapped))
    model = build_model(fine_tune(f"model.labels={json.dumps(swapped)}"))
    assert "labels differ (another order), new head" in copy_weights(pretrained, model)


def test_a_frozen_encoder_stays_bit_for_bit(fine_tune, pretrained):
    cfg = fine_tune("model.optim.weight_decay=0.1", "model.encoder.jasper.0.dropout=0.5")
    model = build_model(cfg)
    copy_weights(pretrained, model)
    before, line = step(model, cfg, "encoder")
    assert changed(model, before) == {"decoder/kernel", "decoder/bias"}
    assert sum("momentum" in v.path for v in model.optimizer.variables) == 2
    encoder = [v for v in pretrained.encoder.weights if v.trainable]
    numbers = sum(int(np.prod(v.shape)) for v in encoder)
    assert line == (
        f"frozen: {len(encoder)} tensors ({numbers:,} values); batch norms among them keep their running statistics, "
        "frozen blocks drop nothing; trained: 2 tensors (725 values)"
    )
    x = [np.random.default_rng(0).normal(size=(2, 40, 16)).astype(np.float32), np.array([40, 30], np.int32)]
    np.testing.assert_array_equal(model.encoder(x, training=True)[0], model.encoder(x, training=False)[0])
    loose = build_model(cfg)
    copy_weights(pretrained, loose)
    in_training, in_evaluation = (np.array(loose.encoder(x, training=training)[0]) for training in (True, False))
    assert np.abs(in_training - in_evaluation).max() > 0.01


@pytest.mark.parametrize(
    "patterns, kept",
    [
        (["*norm_*/*"], lambda path: "norm_" in path),
        (["block_0/*", "decoder/bias"], lambda path: path.startswith("block_0/") or path == "decoder/bias"),
        (["*/kernel"], lambda path: path.endswith("/kernel")),
        (["block_1/norm_0/gamma"], lambda path: path == "block_1/norm_0/gamma"),
    ],
)
def test_patterns_freeze_what_they_match(fine_tune, pretrained, patterns, kept):
    """A batch norm of which only a part is frozen still trains, so its statistics move."""
    cfg = fine_tune("model.optim.weight_decay=0.1")
    model = build_model(cfg)
    copy_weights(pretrained, model)
    before, _ = step(model, cfg, patterns)
    assert changed(model, before) == {path for path in before if not kept(path)}


def test_features_and_encoder_must_be_the_pretrained_ones(fine_tune, tiny_run):
    run = tiny_run[1]
    for override, words in [
        ("model.preprocessor.window_stride=0.02", "model.preprocessor.window_stride: 0.02, but {} has 0.01; "),
        ("model.preprocessor.normalize=all_features", "model.preprocessor.normalize: all_features, but {} has per_fe"),
        ("model.preprocessor.n_fft=1024", "model.preprocessor.n_fft: 1024, but {} has 512"),
        ("model.preprocessor.mel_norm=null", "model.preprocessor.mel_norm: None, but {} has slaney"),
        ("model.preprocessor.generation=legacy", "model.preprocessor.generation: legacy, but {} has modern"),
        ("model.encoder.jasper.1.filters=8", "model.encoder.jasper.1.filters: 8, but {} has 16"),
        ("model.encoder.jasper.2.kernel=[3]", "model.encoder.jasper.2.kernel: [3], but {} has [1]; remove model.enc"),
        ("model.encoder.activation=swish", "model.encoder.activation: swish, but {} has relu"),
    ]:
        with pytest.raises(UserError) as error:
            read_pretrained(fine_tune(override))
        assert str(error.value).startswith(f"{FILE}: ") and words.format(run) in str(error.value), error.value
    for override in ("model.preprocessor.n_fft=512", "model.preprocessor.highfreq=8000", "model.preprocessor.pad_to=0"):
        assert read_pretrained(fine_tune(override)) is not None
    values = fine_tune().to_dict()
    values["model"]["encoder"]["jasper"].pop(1)
    with pytest.raises(UserError, match="model.encoder.jasper: 2 blocks, but .* has 3;"):
        read_pretrained(config_from_dict(values))
    values = fine_tune().to_dict()
    values["model"]["preprocessor"]["features"] = values["model"]["encoder"]["feat_in"] = 20
    with pytest.raises(UserError, match="model.preprocessor.features: 20, but .* has 16;"):
        read_pretrained(config_from_dict(values))


def test_an_archive_for_either_generation(tiny_run, pretrained, fine_tune, tmp_path):
    """A NeMo archive does not say which features it was trained with: the configuration does."""
    archive = tmp_path / "tiny.nemo"
    export_nemo(pretrained, tiny_run[0], archive)
    start = ["init_from_pretrained_model=null", f"init_from_nemo_model={archive}"]
    for generation in ("modern", "legacy"):
        cfg = fine_tune(*start, f"model.preprocessor.generation={generation}")
        model = read_pretrained(cfg)
        assert model.get_config()["preprocessor"]["generation"] == generation
        assert changed(model, values(pretrained)) == set()


def test_weights_that_do_not_fit_are_named(fine_tune, pretrained):
    blocks = [f"model.encoder.jasper.{i}.filters=8" for i in range(2)]
    model = build_model(fine_tune(*blocks))
    before = values(model)
    with pytest.raises(UserError, match=r"block_0/conv_0/kernel: \(7, 16, 16\) in the pretrained .* \(7, 16, 8\)"):
        copy_weights(pretrained, model)
    model = build_model(fine_tune("model.encoder.jasper.0.se=true"))
    with pytest.raises(UserError, match="block_0/squeeze_excite/.*: missing in the pretrained model"):
        copy_weights(pretrained, model)
    assert before and changed(build_model(fine_tune(*blocks)), before) == set()


def test_wrong_use_is_one_line(fine_tune, tiny_run, pretrained, tmp_path):
    broken = tmp_path / "broken.keras"
    broken.write_bytes(b"no zip")
    other = tmp_path / "other.keras"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("config.json", json.dumps({"class_name": "Sequential"}))
    run = "init_from_pretrained_model"
    for overrides, words in [
        ([f"{run}=nowhere"], f"command line: {run}: nowhere: no such file"),
        ([f"{run}={broken}"], "not a readable .keras model"),
        ([f"{run}={other}"], "not a JasperCTC made by train.py"),
        ([f"{run}=model.nemo"], "model.nemo: a NeMo archive; use init_from_nemo_model"),
        ([f"{run}=null", f"init_from_nemo_model={broken}"], f"not a .nemo file; use {run}"),
        ([f"{run}=null", "init_from_nemo_model=nowhere.nemo"], "nowhere.nemo: cannot read this archive (No such file"),
        (["init_from_nemo_model=a.nemo"], f"{run}: init_from_nemo_model is given too; give one of the two"),
        ([f"{run}=null"], "no labels, preprocessor and encoder; name the pretrained model that has them: init_from"),
        (["model.freeze=decoder"], "model.freeze: expected encoder or a list of strings or null, got 'decod"),
    ]:
        with pytest.raises(UserError) as error:
            fine_tune(*overrides)
        assert words in str(error.value) and "\n" not in str(error.value), (overrides, error.value)
    values = tiny_run[0].to_dict()
    values["model"]["freeze"] = "encoder"
    with pytest.raises(UserError, match="model.freeze: would keep new, random weights"):
        config_from_dict(values)
    for patterns, words in [
        (["block_0/*", "blok_1/*"], "'blok_1/*' matches no trainable variable; their paths are like block_0/conv_0/k"),
        (["*"], "leave some to train"),
        (["*/bias"], "matches the head, which must be trained"),
    ]:
        model = build_model(fine_tune(f"model.labels={json.dumps(OTHER_LABELS)}"))
        with pytest.raises(UserError) as error:
            freeze(model, patterns, pretrained)
        assert words in str(error.value)
        assert all(v.trainable for v in model.trainable_variables) and len(model.trainable_variables) == 19
    assert freeze(model, None) is None and freeze(model, []) is None
