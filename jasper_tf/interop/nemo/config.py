"""Converts the `model_config.yaml` of a `.nemo` archive to and from a `Config`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from jasper_tf.config import Config, config_from_dict
from jasper_tf.config.sections.optim_schema import PLATEAU
from jasper_tf.errors import UserError
from jasper_tf.io.bounded_yaml import parse_yaml

# Sections that only training needs: one that is not supported is left out and named.
_TRAINING_ONLY = ("spec_augment", "interctc", "optim", "train_ds", "validation_ds", "test_ds")
# For an optimizer that is missing or not supported; the paper's values.
_DEFAULT_OPTIM = {"name": "novograd", "lr": 0.01, "betas": [0.8, 0.5], "weight_decay": 0.001}

_MODULES = "nemo.collections.asr.modules"
_TARGETS = {
    "preprocessor": f"{_MODULES}.AudioToMelSpectrogramPreprocessor",
    "spec_augment": f"{_MODULES}.SpectrogramAugmentation",
    "encoder": f"{_MODULES}.ConvASREncoder",
    "decoder": f"{_MODULES}.ConvASRDecoder",
}
_OURS = {
    "generation",
    "buckets",
    "band_limit",
    "unknown_characters",
    "synchronized",
    "exclude_from_weight_decay",
    *PLATEAU,
    "monitor",
    "reduce_on_plateau",
}
# Keys of `decoding.beam` that NeMo has not.
_OURS_OF_BEAM = frozenset(
    "n_best top_tokens token_min_logp blank_skip unk_score_offset look_ahead hot_words hot_word_weight hot_word_rare"
    " hot_words_are_known hot_word_possessives jit_compile".split()
)


def from_nemo_config(content: bytes, source: str, name: str, generation: str) -> tuple[Config, list[str]]:
    """Converts NeMo's configuration to a checked `Config`; returns it with a line for each thing left out.

    Args:
        content: YAML, NeMo's `model` section.
        source: for messages.
        name: of the configuration.
        generation: of the features, "modern" or "legacy".

    Raises:
        UserError: not YAML, not a character CTC model, or a setting that is not supported.
    """
    values = parse_yaml(content, source)
    if not isinstance(values, dict):
        raise UserError(f"{source}: not a mapping of keys to values")
    if not isinstance(values.get("preprocessor"), dict):
        raise UserError(f"{source}: preprocessor: missing")
    if values["preprocessor"].get("frame_splicing") not in (None, 1):
        raise UserError(
            f"{source}: preprocessor.frame_splicing: NeMo stacks copies of one frame, this package neighboring ones; "
            "these weights would not see what they were trained on"
        )
    decoding = values.get("decoding")
    if isinstance(decoding, dict) and str(decoding.get("strategy") or "greedy").startswith("greedy"):
        # NeMo writes its defaults of the strategies that were not chosen: a beam chosen later has this package's.
        values["decoding"] = {key: value for key, value in decoding.items() if key != "beam"}
    optional = {key: values[key] for key in _TRAINING_ONLY if values.get(key) is not None}
    model = {key: value for key, value in values.items() if key not in _TRAINING_ONLY}
    model |= {"preprocessor": {**values["preprocessor"], "generation": generation}, "optim": _DEFAULT_OPTIM}
    config, notes = config_from_dict({"name": name, "model": model}, source), []
    if "optim" not in optional:
        notes.append("optim: none in the archive; the configuration gets NovoGrad's defaults")
    for key, section in optional.items():
        try:
            config = config_from_dict({"name": name, "model": {**model, key: section}}, source)
            model[key] = section
        except UserError as error:
            instead = "NovoGrad's defaults are used" if key == "optim" else "left out"
            notes.append(f"{str(error).removeprefix(f'{source}: ')}; {key} only matters in training, {instead}")
    return config, notes


def to_nemo_config(built: Mapping[str, Any], config: Config) -> tuple[dict[str, Any], list[str]]:
    """Converts a `Config` to NeMo's `model` section; returns it with a line for each remaining difference.

    Args:
        built: `JasperCTC.get_config()`.
        config: of the model.

    Raises:
        UserError: `config` describes another model, or NeMo has no such model.
    """
    model = config.to_dict()["model"]
    for key in ("sample_rate", "labels", "preprocessor", "encoder"):
        of_model, of_config = built[key], model[key]
        if isinstance(of_model, dict):  # the keys that both have: a model lacks those that do not shape it
            of_model = {k: v for k, v in of_model.items() if k in of_config}
            of_config = {k: of_config[k] for k in of_model}
        if of_model != of_config:
            raise UserError(f"{config.source}: model.{key} is not the model's; give the configuration it was made of")
    if model["preprocessor"]["frame_splicing"] > 1:
        raise UserError(
            f"{config.source}: model.preprocessor.frame_splicing: NeMo stacks copies of one frame, this package "
            "neighboring ones; NeMo could not run this model"
        )
    notes = []
    if model["preprocessor"]["generation"] == "legacy":
        notes.append("features are of the legacy generation: NeMo <= 2.4.1 computes the same, later ones others")
    for key, target in _TARGETS.items():
        if model[key] is not None:
            model[key] = {"_target_": target, **model[key]}
    model["decoder"] |= {
        "feat_in": model["encoder"]["jasper"][-1]["filters"],
        "num_classes": len(model["labels"]),
        "vocabulary": model["labels"],
    }
    model["decoding"] = _decoding_section(config)
    for name, _ in config.model.datasets():
        augmentor = model[name]["augmentor"]
        if isinstance(augmentor, dict) and "speed" in augmentor:
            # Two arguments of NeMo's SpeedPerturbation that have no default.
            augmentor["speed"] |= {"sr": model["sample_rate"], "resample_type": "kaiser_best"}
    # NeMo takes a null here for a value of its own.
    for section in (*model["encoder"]["jasper"], model["optim"], model["optim"]["sched"] or {}):
        for key in [key for key, value in section.items() if value is None]:
            del section[key]
    return _without(model, _OURS) | {"target": "nemo.collections.asr.models.ctc_models.EncDecCTCModel"}, notes


def _decoding_section(config: Config) -> dict[str, Any]:
    """What the model uses of its `decoding` section."""
    decoding = config.model.decoding
    section: dict[str, Any] = {"strategy": decoding.strategy}
    if not decoding.is_greedy:
        section["beam"] = {k: v for k, v in dataclasses.asdict(decoding.beam).items() if k not in _OURS_OF_BEAM}
    if decoding.confidence_cfg.is_active:
        section["confidence_cfg"] = dataclasses.asdict(decoding.confidence_cfg)
    return section


def _without(value: Any, keys: set[str]) -> Any:
    if isinstance(value, dict):
        return {k: _without(v, keys) for k, v in value.items() if k not in keys}
    return [_without(v, keys) for v in value] if isinstance(value, list) else value
