"""Converts the `model_config.yaml` of a `.nemo` archive to and from a `Config`."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any, get_args

from jasper_tf.config import Config, config_from_dict
from jasper_tf.config.sections.optim_schema import PLATEAU
from jasper_tf.errors import UserError
from jasper_tf.interop.nemo.archive import NemoArchive
from jasper_tf.io.bounded_yaml import parse_yaml
from jasper_tf.text.read_tokenizer import Kind, tokenizer_from_file
from jasper_tf.text.sentencepiece_tokenizer import MODEL, SCORES, VOCABULARY
from jasper_tf.text.tokenizer import CharacterTokenizer, Tokenizer

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
    "recompute",
    "bpe_dropout",
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


# Keys of `tokenizer`, with the file that each names.
_ARTIFACTS = {"model_path": MODEL, "vocab_path": VOCABULARY, "spe_tokenizer_vocab": SCORES}
# The key of the file that the tokenizer is read from.
_READ = {"bpe": "model_path", "wpe": "vocab_path"}


def from_nemo_config(archive: NemoArchive, source: str, name: str, generation: str) -> tuple[Config, list[str]]:
    """Converts NeMo's configuration to a checked `Config`; returns it with a line for each thing left out.

    Args:
        archive: with the configuration, NeMo's `model` section, and the files of the tokenizer.
        source: for messages.
        name: of the configuration.
        generation: of the features, "modern" or "legacy".

    Raises:
        UserError: not YAML, not a CTC model, or a setting that is not supported.
    """
    values = parse_yaml(archive.config, source)
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
    tokenizer = _read_tokenizer(values, archive, source)
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
    if tokenizer is not None and config.model.tokenizer is not None:
        config.model.tokenizer.content = tokenizer.get_config()
    return config, notes


def _read_tokenizer(values: dict[str, Any], archive: NemoArchive, source: str) -> Tokenizer | None:
    """The tokenizer of an archive whose files were read; in `values` the keys that name them are left out."""
    given = values.get("tokenizer")
    if given is None:
        return None
    named = str(given.get("type")).lower() if isinstance(given, dict) else None
    kind = next((kind for kind in get_args(Kind) if kind == named), None)
    if kind is None:
        raise UserError(f"{source}: tokenizer.type: {named!r} is not supported; one tokenizer of type bpe or wpe is")
    values["tokenizer"] = {
        "dir": str(given.get("dir") or "tokenizer"),
        "type": kind,
        **{key: value for key, value in given.items() if key not in {"dir", "type", "vocab_file", *_ARTIFACTS}},
    }
    if archive.tokenizer is None:
        return None
    file = PurePosixPath(str(given.get(_READ[kind])).removeprefix("nemo:")).name
    ends = _ARTIFACTS[_READ[kind]]
    found = [name for name in archive.tokenizer if PurePosixPath(name).name == file]
    found = found or [name for name in archive.tokenizer if name.endswith(ends)]
    if len(found) != 1:
        held = ", ".join(archive.tokenizer) or "none"
        raise UserError(f"{source}: tokenizer.{_READ[kind]}: no file {file!r} in the archive (of a tokenizer: {held})")
    archive_name = source.removesuffix(": model_config.yaml")
    return tokenizer_from_file(archive.tokenizer[found[0]], kind, f"{archive_name}: {found[0]}")


def to_nemo_config(
    built: Mapping[str, Any], tokenizer: Tokenizer, config: Config
) -> tuple[dict[str, Any], dict[str, bytes], list[str]]:
    """Converts a `Config` to NeMo's `model` section.

    Args:
        built: `JasperCTC.get_config()`.
        tokenizer: of the model.
        config: of the model.

    Returns:
        The section; the files of the tokenizer by their names in the archive; a line for each remaining difference.

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
        "num_classes": len(tokenizer),
        "vocabulary": list(tokenizer.vocabulary),
    }
    is_characters = isinstance(tokenizer, CharacterTokenizer)
    files = {f"{sha256(content).hexdigest()[:32]}_{name}": content for name, content in tokenizer.files().items()}
    if is_characters:
        del model["tokenizer"]
    else:
        given = tokenizer.get_config()
        model["tokenizer"] = {"dir": "tokenizer", "type": given["type"]}
        stored = {at.partition("_")[2]: at for at in files}
        model["tokenizer"] |= {key: f"nemo:{stored[name]}" for key, name in _ARTIFACTS.items() if name in stored}
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
    kind = "ctc_models.EncDecCTCModel" if is_characters else "ctc_bpe_models.EncDecCTCModelBPE"
    return _without(model, _OURS) | {"target": f"nemo.collections.asr.models.{kind}"}, files, notes


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
