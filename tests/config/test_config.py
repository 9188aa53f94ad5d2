"""The configuration file: NeMo's stock files load as they are, every mistake is one line that names its place."""

import copy
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from jasper_tf.config import config_from_dict, load_config
from jasper_tf.config.duration import seconds
from jasper_tf.errors import UserError

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden"
BLOCK = {"filters": 8, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.1, "residual": False}
SMALL = {
    "name": "small",
    "model": {
        "sample_rate": 16000,
        "labels": ["a", "b", " "],
        "train_ds": {"manifest_filepath": "???"},
        "validation_ds": {"manifest_filepath": "???"},
        "preprocessor": {"features": 64},
        "encoder": {"feat_in": 64, "jasper": [BLOCK, {**BLOCK, "stride": 1, "kernel": 3}]},
        "decoder": {"feat_in": 8, "num_classes": 3},
        "optim": {"lr": 0.01, "betas": [0.8, 0.5], "sched": {"name": "CosineAnnealing"}},
    },
    "trainer": {"max_epochs": 2},
}


@pytest.fixture
def small_file(tmp_path):
    path = tmp_path / "small.yaml"
    path.write_text(yaml.safe_dump(SMALL, sort_keys=False))
    return path


def with_value(key, value):
    values = copy.deepcopy(SMALL)
    *parents, last = key.split(".")
    node = values
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node.setdefault(part, {})
    node[last] = value
    return values


def message(run, *args):
    with pytest.raises(UserError) as caught:
        run(*args)
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_stock_nemo_jasper_loads_unchanged():
    config = load_config(GOLDEN / "nemo_jasper_10x5dr.yaml")
    blocks = config.model.encoder.jasper
    assert config.name == config.exp_manager.name == "Jasper10x5"
    assert [b.filters for b in blocks] == [256, 256, 256, 384, 384, 512, 512, 640, 640, 768, 768, 896, 1024]
    assert [b.residual_dense for b in blocks] == [False] + [True] * 10 + [False] * 2
    assert config.model.preprocessor.dither == 1e-5
    assert (config.model.spec_augment.rect_masks, config.model.spec_augment.freq_masks) == (5, 0)
    assert config.model.optim.betas == (0.8, 0.5)
    assert config.trainer.max_steps == -1 and config.exp_manager.exp_dir == "runs"
    assert set(config.ignored) == {
        "model.train_ds.num_workers",
        "model.train_ds.pin_memory",
        "model.train_ds.tarred_shard_strategy",
        "model.train_ds.shuffle_n",
        "model.train_ds.bucketing_strategy",
        "model.validation_ds.num_workers",
        "model.validation_ds.pin_memory",
        "trainer.strategy",
        "trainer.logger",
        "exp_manager.wandb_logger_kwargs",
        "hydra",
    }


def test_stock_nemo_quartznet_loads_unchanged():
    config = load_config(GOLDEN / "nemo_quartznet_15x5.yaml")
    blocks = config.model.encoder.jasper
    assert len(blocks) == 18
    assert [b.kernel[0] for b in blocks[::3]] == [33, 33, 39, 51, 63, 75]
    assert [b.separable for b in blocks] == [True] * 17 + [False]
    assert [b.repeat for b in blocks] == [1] + [5] * 15 + [1, 1]
    assert config.model.test_ds.manifest_filepath is None
    assert config.model.decoder.feat_in == 1024


def test_stock_nemo_citrinet_loads_unchanged():
    config = load_config(GOLDEN / "nemo_citrinet_512.yaml")
    blocks = config.model.encoder.jasper
    assert config.model.labels is None and config.model.tokenizer.dir == config.model.tokenizer.type == "???"
    assert [b.kernel[0] for b in blocks if b.stride == [2]] == [11, 13, 25]
    assert {(b.separable, b.se, b.se_context_size) for b in blocks} == {(True, True, -1)}
    assert "model.model_defaults" in config.ignored
    given = ["model.tokenizer.dir=tok", "model.tokenizer.type=bpe"]
    load_config(GOLDEN / "nemo_citrinet_512.yaml", given).require("model.tokenizer", "model.encoder", "model.decoder")


def test_labels_or_pieces():
    pieces = {"dir": "tok", "type": "bpe"}
    assert "model.labels: model.tokenizer is given too" in message(
        config_from_dict, with_value("model.tokenizer", pieces)
    )
    values = with_value("model.tokenizer", pieces | {"type": "agg"})
    assert "model.tokenizer.type: expected one of bpe, wpe" in message(config_from_dict, values)
    values = with_value("model.labels", None)
    assert "model.labels: this key is missing" in message(config_from_dict, values)
    config = config_from_dict(with_value("model.labels", None) | {"model": values["model"] | {"tokenizer": pieces}})
    assert config.model.labels_key == "model.tokenizer" and config.model.tokenizer.content is None
    assert "content" not in config.to_dict()["model"]["tokenizer"]


def test_own_jasper_is_the_stock_model():
    own, stock = (
        load_config(p).to_dict()["model"] for p in (ROOT / "configs/jasper.yaml", GOLDEN / "nemo_jasper_10x5dr.yaml")
    )
    for part in ("labels", "preprocessor", "spec_augment", "encoder", "decoder", "optim"):
        assert own[part] == stock[part], part


def test_own_jasper_names_missing_manifests():
    config = load_config(ROOT / "configs/jasper.yaml")
    text = message(config.require, "model.train_ds", "model.validation_ds.manifest_filepath", "model.optim")
    assert "configs/jasper.yaml: no value for model.train_ds.manifest_filepath, " in text
    assert "model.validation_ds.manifest_filepath; " in text
    overrides = [f"model.{ds}_ds.manifest_filepath=x.jsonl" for ds in ("train", "validation")]
    load_config(ROOT / "configs/jasper.yaml", overrides).require("model.train_ds", "model.validation_ds")


def test_require_names_absent_section():
    assert "no value for model.test_ds" in message(config_from_dict(SMALL).require, "model.test_ds.manifest_filepath")


# finetune.yaml is complete only with a pretrained model: tests/training/test_fine_tuning.py; tune.yaml is a search.
WHOLE_FILES = [f for f in sorted((ROOT / "configs").glob("*.yaml")) if f.name not in ("finetune.yaml", "tune.yaml")]


@pytest.mark.parametrize("file", [*sorted(GOLDEN.glob("nemo_*.yaml")), *WHOLE_FILES])
def test_resolved_config_loads_back(file):
    config = load_config(file)
    text = yaml.safe_dump(config.to_dict())
    assert config_from_dict(yaml.safe_load(text)) == config
    assert "${" not in text


def test_follows_from_other_values():
    values = with_value("model.decoder", {})
    values["model"]["sample_rate"] = 8000
    values["model"]["encoder"]["jasper"][0]["residual_mode"] = "max"
    config = config_from_dict(values)
    assert (config.model.decoder.feat_in, config.model.decoder.num_classes) == (8, 3)
    assert config.model.preprocessor.sample_rate == config.model.train_ds.sample_rate == 8000
    assert [b.residual_mode for b in config.model.encoder.jasper] == ["max", "max"]
    assert config.model.encoder.jasper[1].kernel == [3]
    assert config.seed == 0 and SMALL["model"]["decoder"] == {"feat_in": 8, "num_classes": 3}


@pytest.mark.parametrize(
    ("given", "meant"), [("32", 32), ("32-true", 32), (16, "16-mixed"), ("bf16", "bf16-mixed"), (32, 32)]
)
def test_precision_has_one_spelling(given, meant):
    assert config_from_dict(with_value("trainer.precision", given)).trainer.precision == meant


def test_overrides(small_file):
    config = load_config(
        small_file,
        [
            "model.encoder.jasper.0.dropout=0.3",
            "model.optim.lr=1e-3",
            "+seed=7",
            "trainer.devices=[0,1]",
            "model.test_ds.manifest_filepath=a=b.jsonl",
            "model.optim.sched=null",
            "trainer.max_epochs=3",
        ],
    )
    assert [b.dropout for b in config.model.encoder.jasper] == [0.3, 0.1]
    assert config.model.optim.lr == 0.001 and isinstance(config.model.optim.lr, float)
    assert (config.seed, config.trainer.devices, config.trainer.max_epochs) == (7, [0, 1], 3)
    assert config.model.test_ds.manifest_filepath == "a=b.jsonl" and config.model.optim.sched is None


def test_override_of_an_alias_leaves_its_anchor_alone():
    config = load_config(
        GOLDEN / "nemo_quartznet_15x5.yaml", ["model.decoder.vocabulary=null", "model.train_ds.labels=null"]
    )
    assert len(config.model.labels) == 28
    text = message(load_config, GOLDEN / "nemo_jasper_10x5dr.yaml", ["model.decoder.vocabulary.0=_"])
    assert "model.decoder.vocabulary: differs from model.labels" in text


@pytest.mark.parametrize(
    ("override", "expected"),
    [
        ("model.optim.lrr=1", "command line: model.optim.lrr: unknown key; nearest known key: model.optim.lr"),
        ("model.new.lr=1", "command line: model.new: unknown key"),
        ("model.max_epochs=1", "command line: model.max_epochs: unknown key; nearest known key: trainer.max_epochs"),
        ("model.encoder.jasper.2.dropout=0", "command line: model.encoder.jasper.2: this list is counted from 0 to 1"),
        ("name.x=1", "name is a single value"),
        ("seed", "command line: 'seed' is not an override"),
        ("seed=[1", "command line: seed:1: not valid YAML"),
        ("seed=x", "command line: seed: expected a whole number, got 'x'"),
    ],
)
def test_override_mistakes(small_file, override, expected):
    assert expected in message(load_config, small_file, [override])


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("model.encoder.activtion", "relu", "unknown key; nearest known key: model.encoder.activation"),
        ("model.optim.lr", "fast", "model.optim.lr: expected a number, got 'fast'"),
        ("model.optim.lr", 0, "model.optim.lr: 0.0 is out of range; use a number, more than 0"),
        ("model.optim.lr", float("nan"), "model.optim.lr: expected a number, got nan"),
        ("model.optim.betas", [0.9], "model.optim.betas: expected a list of 2 numbers or null, got a list of 1"),
        ("model.optim.betas", [0.9, 1.0], "model.optim.betas.1: 1.0 is out of range"),
        ("model.optim.name", "adan", "model.optim.name: expected one of novograd, adamw, adam, sgd, adafactor, lion"),
        ("model.optim.momentum", 0.9, "novograd does not know this key; it knows betas, eps, weight_decay, grad_aver"),
        ("model.optim", {"lr": 1, "name": "sgd", "betas": [0, 0]}, "betas: sgd does not know this key; it knows mom"),
        ("model.optim", {"lr": 1, "name": "lion", "eps": 1e-8}, "model.optim.eps: lion does not know this key"),
        ("model.optim.eps", [1e-30, 1e-3], "model.optim.eps: novograd takes one number"),
        ("model.optim", {"lr": 1, "name": "adafactor", "eps": 1e-3}, "model.optim.eps: adafactor takes two numbers"),
        ("model.optim.exclude_from_weight_decay", "*/bias", "expected a list of strings"),
        ("model.encoder.conv_mask", 1, "model.encoder.conv_mask: expected true or false, got 1"),
        ("model.encoder.feat_in", True, "model.encoder.feat_in: expected a whole number, got true"),
        ("model.encoder.residual_mode", "sub", "model.encoder.residual_mode: expected one of add, "),
        ("model.encoder.jasper.1.kernel", [3, 3], "model.encoder.jasper.1.kernel: expected a list of one number"),
        ("model.encoder.jasper.1.dropout", 1, "model.encoder.jasper.1.dropout: 1.0 is out of range"),
        ("model.encoder.jasper.1.dilation", "x", "jasper.1.dilation: expected a list of whole numbers"),
        ("model.encoder.jasper", [], "model.encoder.jasper: no blocks"),
        ("model.encoder.jasper.0.dilation", [2], "stride and dilation cannot both"),
        ("model.encoder", None, "model.encoder: expected a mapping, got null"),
        ("model.encoder._target_", "nemo.collections.asr.modules.ConformerEncoder", "model.encoder._target_: "),
        ("model._target_", "x", "model._target_: unknown key"),
        ("model.preprocessor.normalize", "per_fature", "model.preprocessor.normalize: expected one of per_feature, "),
        ("model.preprocessor.normalize", {"fixed_mean": [0.0], "fixed_std": [1.0]}, "1 numbers for 64 features"),
        ("model.preprocessor.n_fft", 256, "model.preprocessor.n_fft: 256 is shorter than the window of 320 samples"),
        ("model.preprocessor.highfreq", 9000, "model.preprocessor.highfreq: the band"),
        ("model.preprocessor.sample_rate", 8000, "model.preprocessor.sample_rate: 8000 Hz, but"),
        ("model.preprocessor.frame_splicing", 3, "model.encoder.feat_in: 64, but the preprocessor makes 192"),
        ("model.train_ds.sample_rate", 8000, "model.train_ds.sample_rate: 8000 Hz, but"),
        ("model.train_ds.labels", ["b", "a", " "], "model.train_ds.labels: differs from model.labels"),
        ("model.train_ds.is_tarred", True, "tarred_audio_filepaths: this key is missing; is_tarred: true needs it"),
        ("model.train_ds.manifest_filepath", 3, "expected a string or a list of strings or a mapping or null, got 3"),
        ("model.train_ds.manifest_filepath", [], "an empty list"),
        ("model.train_ds.augmentor", {"sped": {}}, "nearest known key: model.train_ds.augmentor.speed"),
        (
            "model.train_ds.augmentor",
            {"speed": {"min_rate": 1}},
            "speed.min_rate: unknown key; nearest known key: model.train_ds.augmentor.speed.min_speed_rate",
        ),
        ("model.test_ds", {"augmentor": {"gain": {"prob": "often"}}}, "augmentor.gain.prob: expected a number, got"),
        ("model.train_ds.augmentor", {"gain": {"prob": 2}}, "gain.prob: 2.0 is out of range; use a number, at least 0"),
        ("model.train_ds.augmentor", {"noise": None}, "augmentor.noise.manifest_path: this key is missing; give a "),
        ("model.train_ds.augmentor", {"speed": {"num_rates": 1}}, "speed.num_rates: 1 rate cannot be both ends"),
        ("model.train_ds.augmentor", {"band_limit": {"sample_rate": 16000}}, "below the model's 16000 Hz"),
        ("model.train_ds.augmentor", ["speed"], "train_ds.augmentor: expected a mapping or null, got a list of 1"),
        ("model.train_ds", {"min_duration": 2, "max_duration": 1}, "max_duration: 1.0 s is not above min_duration"),
        ("model.decoder.vocabulary", ["a"], "model.decoder.vocabulary: differs"),
        ("model.decoder.num_classes", 4, "model.decoder.num_classes: 4, but model.labels has 3"),
        ("model.decoder.feat_in", 9, "model.decoder.feat_in: 9, but the last block has 8 filters"),
        ("model.interctc", {"loss_weights": [0.3]}, "model.interctc.apply_at_layers: this key is missing"),
        ("model.interctc", {"loss_weights": [0.3], "apply_at_layers": []}, "1 of them, but apply_at_layers names 0"),
        ("model.interctc", {"loss_weights": [0.5] * 2, "apply_at_layers": [0, 1]}, "loss_weights: their sum is 1; "),
        ("model.interctc", {"loss_weights": [1.0], "apply_at_layers": [0]}, "loss_weights.0: 1.0 is out of range"),
        ("model.interctc", {"loss_weights": [0.3], "apply_at_layers": [1]}, "layers.0: block 1 is not before the last"),
        ("model.interctc", {"loss_weights": [0.3], "apply_at_layers": [-1]}, "apply_at_layers.0: -1 is out of range"),
        ("model.interctc", {"loss_weights": [0.3] * 2, "apply_at_layers": [0, 0]}, "block 0 is there already"),
        ("model.labels", ["a", "b", "a"], "model.labels.2: the label 'a' is already entry 0"),
        ("model.labels", ["a", "bc"], "model.labels.1: 'bc' is not a single character"),
        ("model.labels", ["a", 1], "model.labels.1: expected a string, got 1"),
        ("model.optim.sched", {"name": "Cosine"}, "model.optim.sched.name: expected one of CosineAnnealing, WarmupPol"),
        ("model.optim.sched", {"power": 2}, "sched.power: CosineAnnealing does not know this key; it knows warmup"),
        ("model.optim.sched", {"name": "ExponentialLR", "max_steps": 9}, "max_steps: ExponentialLR does not know this"),
        ("model.optim.sched", {"name": "NoamAnnealing"}, "sched.d_model: this key is missing; NoamAnnealing needs it"),
        ("model.optim.sched", {"patience": 2}, "sched.patience: has no effect without reduce_on_plateau: true"),
        ("model.optim.sched", {"reduce_on_plateau": True, "monitor": "loss"}, "expected one of val_wer, val_cer"),
        ("model.optim.sched", {"reduce_on_plateau": True, "monitor": "val_wer_ema"}, "switch them on with trainer.ema"),
        ("model.optim.sched", {"reduce_on_plateau": True, "factor": 0}, "sched.factor: 0.0 is out of range"),
        ("model.optim.sched", {"reduce_on_plateau": True, "factor": 1}, "sched.factor: 1.0 is out of range"),
        ("model.optim.sched", {"name": "WarmupHoldPolicy", "hold_steps": 1, "hold_ratio": 0.1}, "hold_steps is given"),
        ("trainer.ema", {"decay": 1.5}, "trainer.ema.decay: 1.5 is out of range"),
        ("trainer.ema", 0.999, "trainer.ema: expected a mapping or null, got 0.999"),
        ("exp_manager.checkpoint_callback_params", {"monitor": "val_wer_ema"}, "switch them on with trainer.ema"),
        ("model.optim.sched", {"warmup_steps": 1, "warmup_ratio": 0.1}, "warmup_steps is given too"),
        ("model.decoding", {"strategy": "wfst"}, "model.decoding.strategy: expected one of greedy, "),
        ("model.decoding.beam", {"ngram_alpha": 1.0}, "ngram_alpha: unknown key; nearest known key: model.decoding."),
        ("model.decoding.beam", {"beam_size": 5000}, "beam.beam_size: 5000 is out of range; use a whole number, at "),
        ("model.decoding.beam", {"boosting_tree": {"key_phrases_list": ["a"]}}, "boosting_tree: a mapping is not"),
        ("trainer.num_nodes", 0, "trainer.num_nodes: 0 is out of range"),
        ("trainer.max_time", "soon", "trainer.max_time: 'soon': expected a duration above 0: DD:HH:MM:SS, seconds, or"),
        ("trainer.max_time", {"hour": 1}, "trainer.max_time: {'hour': 1}: expected a duration above 0"),
        ("exp_manager.max_time_per_run", "00:00:00:00", "exp_manager.max_time_per_run: '00:00:00:00': expected"),
        ("exp_manager.checkpoint_callback_params", {"train_time_interval": {"minutes": 0}}, "train_time_interval: "),
        ("exp_manager.early_stopping_callback_params", {"patience": 0}, "patience: 0 is out of range"),
        ("trainer.limit_val_batches", 1, "trainer.limit_val_batches: 1 is not supported"),
        ("trainer.precision", 64, "trainer.precision: expected one of 32, "),
        ("trainer.accelerator", "tpu", "trainer.accelerator: expected one of auto, cpu, gpu"),
        ("trainer.devices", 0, "at least -1 and at most 1,024, not 0"),
        ("trainer.devices", [1, 1], "trainer.devices: expected different devices"),
        ("trainer.val_check_interval", 0.5, "trainer.val_check_interval: 0.5 is not supported"),
        ("exp_manager.create_wandb_logger", True, "exp_manager.create_wandb_logger: true is not supported"),
        ("exp_manager.ema", {"enable": True}, "exp_manager.ema: "),
        ("modle", {}, "modle: unknown key; nearest known key: model"),
    ],
)
def test_mistakes(key, value, expected):
    text = message(config_from_dict, with_value(key, value), "some.yaml")
    assert text.startswith("some.yaml: ") and expected in text


def test_interctc_wants_blocks_as_wide_as_the_last():
    values = with_value("model.interctc", {"loss_weights": [0.3], "apply_at_layers": [0]})
    config_from_dict(values)
    values["model"]["encoder"]["jasper"][0]["filters"] = 4
    text = message(config_from_dict, values, "some.yaml")
    assert "model.interctc.apply_at_layers.0: block 0 has 4 filters, the last 8; the decoder reads both" in text


@pytest.mark.parametrize("key", ["name", "model", "model.optim.lr", "model.encoder.jasper.1.filters"])
def test_missing_key(key):
    values = copy.deepcopy(SMALL)
    *parents, last = key.split(".")
    node = values
    for part in parents:
        node = node[int(part)] if isinstance(node, list) else node[part]
    del node[last]
    assert f"{key}: this key is missing" in message(config_from_dict, values)


def test_mistakes_name_the_line(small_file):
    lines = small_file.read_text().splitlines()
    line = next(i for i, text in enumerate(lines, 1) if "max_epochs" in text)
    small_file.write_text("\n".join(lines).replace("max_epochs", "max_epoch"))
    text = message(load_config, small_file)
    assert text == f"{small_file}:{line}: trainer.max_epoch: unknown key; nearest known key: trainer.max_epochs"


def test_an_augmentor_is_checked_without_its_files_and_without_tensorflow(small_file):
    overrides = [
        "model.train_ds.augmentor={noise: {manifest_path: nowhere.json, rng: null}, speed: {prob: '???'}, gain: null}"
    ]
    config = load_config(small_file, overrides)
    assert "no value for model.train_ds.augmentor.speed.prob; " in message(config.require, "model.train_ds.augmentor")
    text = message(load_config, small_file, [*overrides, "model.train_ds.augmentor.noise.min_snr=0"])
    assert text == (
        "command line: model.train_ds.augmentor.noise.min_snr: unknown key; "
        "nearest known key: model.train_ds.augmentor.noise.min_snr_db"
    )
    script = "import sys; from jasper_tf.config import load_config; load_config(*sys.argv[1:2], sys.argv[2:])"
    script += "; print({'tensorflow', 'keras'} & set(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", script, str(small_file), *overrides], cwd=ROOT, capture_output=True, text=True
    )
    assert done.stdout == "set()\n", done.stderr


def test_an_augmentor_is_written_and_read_back(small_file):
    text = "{speed: {sr: 16000, max_speed_rate: 1}, gain: null, noise: {manifest_path: [a, b], min_snr_db: 1e1}}"
    config = load_config(small_file, [f"model.train_ds.augmentor={text}", "model.train_ds.augmentor.gain.prob=1"])
    assert config.ignored == ["model.train_ds.augmentor.speed.sr"]
    written = yaml.safe_load(yaml.safe_dump(config.to_dict()))
    found = written["model"]["train_ds"]["augmentor"]
    assert set(found) == {"speed", "noise", "gain"}  # not what is absent: null would be its defaults
    assert found["speed"] == {"prob": 0.5, "min_speed_rate": 0.9, "max_speed_rate": 1.0, "num_rates": -1}
    assert found["gain"]["prob"] == 1.0 and found["noise"]["manifest_path"] == ["a", "b"]
    assert config_from_dict(written) == config


def test_plateau_needs_validations():
    values = with_value("model.optim.sched", {"reduce_on_plateau": True})
    assert config_from_dict(values).model.optim.sched.monitor == "val_loss"
    values["model"]["validation_ds"] = None
    assert "reduce_on_plateau: needs validations; give model.validation_ds" in message(config_from_dict, values)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("exp_manager.checkpoint_callback_params", {"monitor": "val_wer_far"}),
        ("model.optim.sched", {"reduce_on_plateau": True, "monitor": "val_wer_far"}),
    ],
)
def test_overfit_batches_leave_nothing_to_score_a_named_set_by(key, value):
    values = with_value(key, value)
    values["model"]["validation_ds"]["manifest_filepath"] = {"near": "a.json", "far": "b.json"}
    config_from_dict(values)
    values["trainer"]["overfit_batches"] = 2
    text = message(config_from_dict, values)
    assert f"{key}.monitor: val_wer_far is of a named set, but trainer.overfit_batches" in text
    assert text.endswith("; use val_wer")


def test_what_null_stands_for_is_the_optimizers():
    config = config_from_dict(with_value("model.optim", {"lr": 1, "name": "adamw", "sched": {"name": "ExponentialLR"}}))
    optim = config.model.optim
    assert (optim.betas, optim.eps, optim.weight_decay, optim.momentum) == ((0.9, 0.999), 1e-8, 0.01, None)
    assert (optim.sched.gamma, optim.sched.min_lr, optim.sched.patience) == (0.9, None, None)
    assert config_from_dict(config.to_dict()) == config
    # NeMo's files name a monitor whether it means something or not.
    assert config_from_dict(with_value("model.optim.sched.monitor", "loss")).model.optim.sched.name == "CosineAnnealing"


@pytest.mark.parametrize(("given", "decay"), [(None, None), ({"enable": False, "decay": 0.9}, None), ({}, 0.999)])
def test_ema(given, decay):
    ema = config_from_dict(with_value("trainer.ema", given)).trainer.ema
    assert (ema and ema.decay) == decay


def test_every_value_may_be_left_open():
    config = config_from_dict(with_value("model.optim.lr", "???"))
    assert "no value for model.optim.lr; " in message(config.require, "model.optim", "model.encoder")
    for key in ("labels", "encoder.feat_in", "encoder.jasper.1.filters", "preprocessor.features", "sample_rate"):
        config_from_dict(with_value(f"model.{key}", "???"))


def test_interpolation():
    values = with_value("model.encoder.feat_in", "${model.preprocessor.features}")
    values["model"]["decoder"] = {"feat_in": "${model.encoder.jasper.1.filters}", "vocabulary": "${model.labels}"}
    values["exp_manager"] = {"name": "${name}-${model.${name}.lr}", "wandb_logger_kwargs": "${model.optim}"}
    values["name"] = "optim"
    config = config_from_dict(values)
    assert (config.model.encoder.feat_in, config.model.decoder.feat_in) == (64, 8)
    assert config.exp_manager.name == "optim-0.01"
    config.model.decoder.vocabulary.append("z")
    assert config.model.labels == SMALL["model"]["labels"]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("${model.optim.lrr}", "${model.optim.lrr} names no key; nearest known key: model.optim.lr"),
        ("${exp_manager.name}", "refers to itself: exp_manager.name -> exp_manager.name"),
        ("${exp_manager.version}", "refers to itself: exp_manager.version -> exp_manager.name"),
        ("${oc.env:HOME}", "is not supported"),
        ("x${model.optim}", "cannot be part of a string"),
    ],
)
def test_interpolation_mistakes(value, expected):
    values = with_value("exp_manager", {"name": value, "version": "${exp_manager.name}"})
    text = message(config_from_dict, values)
    assert expected in text and "exp_manager." in text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("name: a\nname: b\n", ":2: name: this key is already at line 1"),
        ("name: a\nmodel: {x: [1, {y: 1, y: 2}]}\n", ":2: model.x.1.y: this key is already at line 2"),
        ("name: [a\nmodel: b: c\n", "not valid YAML"),
        ("name: a\n\tmodel: b\n", ":2: not valid YAML"),
        ("model: *nowhere\n", ":1: not valid YAML: found undefined alias"),
        ("name: \x00\n", ": not valid YAML"),
        ("name: !!python/object:os.system x\n", ":1: not valid YAML"),
        ("model: &m\n  encoder: *m\n", "an alias that contains itself"),
        ("- a\n", ": not a mapping"),
        ("", ": not a mapping"),
        ("? [a, b]\n: c\n", ":1: a key must be a single word"),
    ],
)
def test_files_that_are_not_a_configuration(tmp_path, text, expected):
    path = tmp_path / "c.yaml"
    path.write_text(text)
    got = message(load_config, path)
    assert got.startswith(str(path)) and expected in got


def test_unreadable_files(tmp_path):
    assert "nothing.yaml: cannot read" in message(load_config, tmp_path / "nothing.yaml")
    assert "a folder" in message(load_config, tmp_path)
    (tmp_path / "b.yaml").write_bytes(b"\xff\xfe\xfa")
    assert "not UTF-8 text" in message(load_config, tmp_path / "b.yaml")


def test_merge_keys(small_file):
    text = small_file.read_text().replace(
        "trainer:\n", "base: &base {max_epochs: 9, devices: 2}\ntrainer:\n  <<: *base\n"
    )
    small_file.write_text(text)
    assert "base: unknown key" in message(load_config, small_file)
    small_file.write_text(text.replace("base: &base", "hydra: &base"))
    trainer = load_config(small_file).trainer
    assert (trainer.max_epochs, trainer.devices) == (2, 2)


def test_saved_nemo_model_section_loads(golden):
    model = yaml.safe_load((golden / "small_model_config.yaml").read_text())
    config = config_from_dict({"name": "small", "model": model})
    assert config.model.decoding.strategy.startswith("greedy") and config.model.encoder.jasper[0].se


@pytest.mark.parametrize(
    ("value", "expected"),
    [("01:02:03:04", 93784.0), ({"hours": 1, "minutes": 30}, 5400.0), (0.5, 0.5), (90, 90.0), ("00:00:00:01", 1.0)],
)
def test_durations(value, expected):
    assert seconds(value) == expected


@pytest.mark.parametrize(
    "key",
    [
        "model.encoder.jasper",
        "model.train_ds",
        "model.labels",
        "model.optim.sched",
        "trainer.ema",
        "model.train_ds.augmentor",
        "model.train_ds.augmentor.speed",
    ],
)
def test_a_section_that_is_to_be_given(key):
    config = config_from_dict(with_value(key, "???"))
    with pytest.raises(UserError, match=f"no value for {key}"):
        config.require(key)
