"""NeMo's models in and out: every tensor accounted for, the same numbers afterwards."""

import sys

import keras
import numpy as np
import pytest
import yaml

from jasper_tf.config import config_from_dict
from jasper_tf.errors import UserError
from jasper_tf.inference.load_model import load_model
from jasper_tf.interop.nemo.archive import read_archive, write_archive
from jasper_tf.interop.nemo.model import export_nemo, import_nemo
from jasper_tf.interop.nemo.torch_checkpoint import read_checkpoint, write_checkpoint
from jasper_tf.interop.nemo.weights import assign_checkpoint
from jasper_tf.model.jasper_ctc import build_model

BLOCK = {"filters": 16, "repeat": 1, "kernel": [5], "stride": [1], "dilation": [1], "dropout": 0.1, "residual": False}
LABELS = list(" abc'")


def make_config(**changes):
    model = {
        "labels": LABELS,
        "preprocessor": {"features": 16, "n_fft": 512},
        "spec_augment": {"freq_masks": 1, "time_masks": 1, "time_width": 0.05},
        "encoder": {
            "feat_in": 16,
            "jasper": [
                BLOCK | {"stride": [2]},
                BLOCK | {"repeat": 2, "residual": True, "residual_dense": True, "se": True, "separable": True},
            ],
        },
        "decoder": {},
        "interctc": {"loss_weights": [0.3], "apply_at_layers": [0]},
        "optim": {"name": "novograd", "lr": 0.01, "sched": {"name": "CosineAnnealing", "warmup_steps": 7}},
        "train_ds": {
            "manifest_filepath": "train.json",
            "buckets": 3,
            "augmentor": {"speed": {"min_speed_rate": 0.8}, "band_limit": {}},
        },
    }
    return config_from_dict({"name": "small", "model": model | changes})


@pytest.fixture(scope="module")
def config():
    return make_config()


@pytest.fixture(scope="module")
def model(config):
    """With statistics and scales that are not the initial ones."""
    model = build_model(config)
    rng = np.random.default_rng(0)
    for variable in model.weights:
        if variable.path.endswith(("gamma", "beta", "moving_mean", "moving_variance")):
            variable.assign(rng.uniform(0.5, 2, variable.shape))
    return model


@pytest.fixture()
def archive(model, config, tmp_path):
    assert export_nemo(model, config, tmp_path / "model.nemo") == []
    return tmp_path / "model.nemo"


def rewrite(path, tensors=None, **config):
    """The archive with other tensors or keys at the top of its configuration."""
    held = read_archive(path)
    values = {**yaml.safe_load(held.config), **config}
    write_archive(path, yaml.safe_dump(values), held.weights if tensors is None else write_checkpoint(tensors))


def log_probs(model, audio, audio_len):
    y = model({"audio": audio, "audio_len": audio_len.astype(np.int32)}, training=False)
    return np.asarray(keras.ops.log_softmax(y["logits"])), np.asarray(y["logit_len"])


def test_export_and_import_give_the_same_model(model, config, archive, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)  # an import of it would raise
    imported = import_nemo(archive)
    assert imported.notes == []
    assert set(imported.tensors) == set(read_checkpoint(read_archive(archive).weights, "w"))
    audio = np.random.default_rng(1).normal(size=(2, 9000)).astype(np.float32)
    audio_len = np.array([9000, 5000])
    ours, ours_len = log_probs(model, audio, audio_len)
    for other in (imported.model, load_model(archive)):
        theirs, theirs_len = log_probs(other, audio, audio_len)
        np.testing.assert_array_equal(ours, theirs)
        np.testing.assert_array_equal(ours_len, theirs_len)
    want, got = config.to_dict()["model"], imported.config.to_dict()["model"]
    want["decoder"] |= {"feat_in": 16, "num_classes": 5, "vocabulary": LABELS}
    # Ours alone: not in the archive.
    want["train_ds"]["buckets"] = 4
    del want["train_ds"]["augmentor"]["band_limit"]
    assert got == want


def test_what_is_written_is_what_nemo_reads(archive):
    values = yaml.safe_load(read_archive(archive).config)
    assert values["target"] == "nemo.collections.asr.models.ctc_models.EncDecCTCModel"
    for section, name in (
        ("preprocessor", "AudioToMelSpectrogramPreprocessor"),
        ("spec_augment", "SpectrogramAugmentation"),
        ("encoder", "ConvASREncoder"),
        ("decoder", "ConvASRDecoder"),
    ):
        assert values[section]["_target_"] == f"nemo.collections.asr.modules.{name}"
    text = read_archive(archive).config.decode()
    assert not any(word in text for word in ("generation", "buckets", "unknown_characters", "&id", "!!python"))
    assert values["decoder"] | {"feat_in": 16, "num_classes": 5, "vocabulary": LABELS} == values["decoder"]
    # NeMo's speed perturbation needs the first two; null would not be a perturbation to it.
    speed = {"sr": 16000, "resample_type": "kaiser_best", "prob": 0.5, "min_speed_rate": 0.8, "max_speed_rate": 1.1}
    assert values["train_ds"]["augmentor"] == {"speed": speed | {"num_rates": -1}}
    # A null here would stand in the way of the encoder's residual_mode.
    assert not any(value is None for block in values["encoder"]["jasper"] for value in block.values())
    tensors = read_checkpoint(read_archive(archive).weights, "w")
    assert tensors["preprocessor.featurizer.fb"].shape == (1, 16, 257)
    assert tensors["encoder.encoder.0.mconv.0.conv.weight"].shape == (16, 16, 5)
    assert tensors["decoder.decoder_layers.0.weight"].shape == (6, 16, 1)
    count = tensors["encoder.encoder.1.res.0.1.num_batches_tracked"]
    assert count.dtype == np.int64 and count.shape == ()


def test_every_tensor_that_does_not_fit_is_named(archive):
    tensors = dict(read_checkpoint(read_archive(archive).weights, "w"))
    head, first = "decoder.decoder_layers.0.bias", "encoder.encoder.0.mconv.0.conv.weight"
    second = "encoder.encoder.1.mconv.0.conv.weight"
    wrong = {"of.another.model": tensors.pop(head), "and.another": tensors.pop(second), **tensors}
    wrong[first] = tensors[first][:, :, :3]
    rewrite(archive, wrong)
    with pytest.raises(UserError) as refusal:
        import_nemo(archive)
    line = str(refusal.value)
    assert f"missing: {head}, {second}; left over: and.another, of.another.model; of another shape: {first}" in line
    assert "(16, 16, 3), the configuration makes (16, 16, 5)" in line and "\n" not in line


@pytest.mark.parametrize("name", ["window", "fb"])
def test_other_features_are_refused(archive, name):
    tensors = dict(read_checkpoint(read_archive(archive).weights, "w"))
    key = f"preprocessor.featurizer.{name}"
    rewrite(archive, {**tensors, key: tensors[key].astype(np.float16).astype(np.float32)})
    import_nemo(archive)
    rewrite(archive, {**tensors, key: tensors[key] * np.float32(1.01)})
    with pytest.raises(UserError, match=f"{key} is not what the preprocessor section makes"):
        import_nemo(archive)


def test_nothing_is_assigned_unless_everything_fits(model, archive):
    tensors = dict(read_checkpoint(read_archive(archive).weights, "w"))
    del tensors["decoder.decoder_layers.0.bias"]
    before = [np.asarray(v) for v in model.weights]
    with pytest.raises(UserError, match="missing"):
        assign_checkpoint(model, {name: array + 1 for name, array in tensors.items()}, "w")
    for array, variable in zip(before, model.weights, strict=True):
        np.testing.assert_array_equal(array, np.asarray(variable))


def test_the_generation_of_the_features_can_be_chosen(archive):
    assert import_nemo(archive).config.model.preprocessor.generation == "modern"
    legacy = import_nemo(archive, "legacy")
    assert legacy.config.model.preprocessor.generation == "legacy"
    assert legacy.model.get_layer("log_mel").generation == "legacy"
    assert "NeMo <= 2.4.1" in export_nemo(legacy.model, legacy.config, archive)[0]


def test_what_only_training_needs_may_be_unsupported(archive):
    rewrite(
        archive,
        optim={"name": "adan", "lr": 0.1},
        train_ds={"manifest_filepath": "a.json", "use_lhotse": True},
        validation_ds=None,
        interctc={"loss_weights": [0.3], "apply_at_layers": [8]},
    )
    imported = import_nemo(archive)
    interctc, optim, train_ds = imported.notes
    assert "interctc.apply_at_layers.0: block 8 is not before the last" in interctc
    assert "optim.name" in optim and "train_ds.use_lhotse" in train_ds
    assert imported.config.model.optim.name == "novograd" and imported.config.model.train_ds is None
    assert imported.config.model.spec_augment is not None


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"target": "nemo.collections.asr.models.rnnt_models.EncDecRNNTModel"}, "target"),
        ({"encoder": {"_target_": "nemo.collections.asr.modules.ConformerEncoder"}}, "ConvASREncoder"),
        ({"preprocessor": {"features": 16, "frame_splicing": 2}}, "frame_splicing: NeMo stacks copies"),
        ({"preprocessor": None}, "preprocessor: missing"),
    ],
)
def test_models_that_are_not_supported(archive, changes, word):
    rewrite(archive, **changes)
    with pytest.raises(UserError) as refusal:
        import_nemo(archive)
    assert word in str(refusal.value) and f"{archive}: model_config.yaml" in str(refusal.value)


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("a: [", "not valid YAML"),
        ("- a", "not a mapping"),
        ("a: !!python/object/apply:os.system [touch executed]", "not valid YAML"),
        (
            "a: &a [1,1,1,1,1,1,1,1,1,1]\n"
            + "".join(f"{b}: &{b} [{','.join([f'*{a}'] * 10)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True)),
            "expands to more than",
        ),
        ("a: &a [*a]", "an alias that contains itself"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested more than"),
    ],
    ids=["broken", "list", "object", "billion laughs", "circle", "deep"],
)
def test_harmful_configurations(archive, text, word):
    write_archive(archive, text, read_archive(archive).weights)
    with pytest.raises(UserError, match=word):
        import_nemo(archive)


def test_export_wants_the_configuration_of_the_model(model, tmp_path):
    other = make_config(labels=list(" abd'"))
    with pytest.raises(UserError, match="model.labels is not the model's"):
        export_nemo(model, other, tmp_path / "model.nemo")
    other = make_config(encoder={"feat_in": 16, "jasper": [BLOCK] * 2})
    with pytest.raises(UserError, match="model.encoder is not the model's"):
        export_nemo(model, other, tmp_path / "model.nemo")
    spliced = make_config(
        preprocessor={"features": 8, "frame_splicing": 2},
        encoder={"feat_in": 8, "frame_splicing": 2, "jasper": [BLOCK] * 2},
    )
    with pytest.raises(UserError, match="frame_splicing: NeMo stacks copies"):
        export_nemo(build_model(spliced), spliced, tmp_path / "model.nemo")
    assert not list(tmp_path.iterdir())


def test_a_decoding_section_is_used_if_its_strategy_is(archive, tmp_path):
    """NeMo writes its defaults of a beam into archives that are decoded greedily."""
    beam = {"beam_size": 4, "beam_alpha": 1.0, "beam_beta": 0.5}
    for strategy, size in (("greedy_batch", 16), ("beam", 4)):
        rewrite(archive, decoding={"strategy": strategy, "beam": beam})
        imported = import_nemo(archive)
        assert imported.config.model.decoding.beam.beam_size == size
        assert imported.model.decoding_config.strategy == strategy
        export_nemo(imported.model, imported.config, tmp_path / "again.nemo")
        written = yaml.safe_load(read_archive(tmp_path / "again.nemo").config)["decoding"]
        assert written.get("beam", {}).get("beam_alpha") == (1.0 if strategy == "beam" else None)
        assert "look_ahead" not in written.get("beam", {})
