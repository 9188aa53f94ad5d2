"""Fine-tuning: pretrained weights and frozen variables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Any

import keras

from jasper_tf.config import Config
from jasper_tf.config.pretrained import INIT_KEYS
from jasper_tf.errors import UserError
from jasper_tf.features.framing import Framing
from jasper_tf.inference.load_model import load_model
from jasper_tf.inference.pretrained_config import read_sections
from jasper_tf.interop.nemo.model import import_nemo
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.model.variable_patterns import match_variables

_MOST_NAMED = 50
"""Labels that the log names one by one."""
# These affect only training, or nothing: fine-tuning may change them.
_FREE = {"dither", "pad_to", "dropout", "init_mode", "recompute", "se_interpolation_mode"}


def read_pretrained(cfg: Config) -> JasperCTC | None:
    """Loads the pretrained model that `cfg` names, or returns None.

    Raises:
        UserError: it cannot be read, or its features or encoder differ from those of `cfg`.
    """
    key = next((key for key in INIT_KEYS if getattr(cfg, key) is not None), None)
    if key is None:
        return None
    path = getattr(cfg, key)
    ours, theirs = cfg.to_dict()["model"], read_sections(key, path)
    generation = ours["preprocessor"]["generation"]
    if key == "init_from_nemo_model":
        theirs["preprocessor"]["generation"] = generation  # not in an archive; see import_nemo
    for values in (ours, theirs):
        values["preprocessor"] = _effective(values["preprocessor"])
    for section in ("sample_rate", "preprocessor", "encoder"):
        difference = _first_difference(ours[section], theirs[section], f"model.{section}")
        if difference:
            name, here, there = difference
            raise UserError(
                f"{cfg.source}: {name}: {here}, but {path} has {there}; "
                f"remove model.{section} to use the pretrained one, or choose another model"
            )
    if key == "init_from_nemo_model":
        return import_nemo(path, generation).model
    return load_model(path)


def copy_weights(pretrained: JasperCTC, model: JasperCTC) -> str:
    """Copies the encoder with its running statistics, and the head if the labels are the same.

    Returns:
        A line for the log: what is loaded and what is new.

    Raises:
        UserError: a variable is missing or has another shape; nothing is copied.
    """
    same_labels = pretrained.labels == model.labels
    loaded = list(model.encoder.weights) + (list(model.decoder.weights) if same_labels else [])
    sources = {v.path: v for v in pretrained.weights}
    for variable in loaded:
        source = sources.get(variable.path)
        if source is None or tuple(source.shape) != tuple(variable.shape):
            found = "missing" if source is None else f"{tuple(source.shape)}"
            raise UserError(
                f"{variable.path}: {found} in the pretrained model, the configuration makes {tuple(variable.shape)}"
            )
    for variable in loaded:
        variable.assign(keras.ops.convert_to_numpy(sources[variable.path].value))
    line = f"loaded: {_amount(loaded)}, running statistics among them; "
    if same_labels:
        return line + "the labels are the same, so the head is loaded too; new: none"
    added = [label for label in model.labels if label not in pretrained.labels]
    removed = [label for label in pretrained.labels if label not in model.labels]
    changes = [
        f"{what} {' '.join(map(repr, labels)) if len(labels) <= _MOST_NAMED else len(labels)}"
        for what, labels in (("+", added), ("-", removed))
        if labels
    ]
    return line + f"labels differ ({', '.join(changes) or 'another order'}), new head: {_amount(model.decoder.weights)}"


def freeze(model: JasperCTC, what: str | list[str] | None, pretrained: JasperCTC | None = None) -> str | None:
    """Freezes variables; call it before the optimizer is built.

    A layer whose trainable variables are all frozen runs in inference mode: batch norms use and keep their running
    statistics, and dropout is off, as after NeMo's `encoder.freeze()`.

    Args:
        model: not yet compiled.
        what: `model.freeze` of the configuration: "encoder", or patterns of the `fnmatch` module for variable paths
            such as `block_0/conv_0/kernel`, `block_0/norm_0/gamma`, `decoder/bias`.
        pretrained: the model that `model` starts from, to know whether the head is new.

    Returns:
        A line for the log: what is frozen and what is trained; None if nothing is frozen.

    Raises:
        UserError: a pattern matches nothing, or a new head, or everything.
    """
    if not what:
        return None
    variables = list(model.trainable_variables)
    if what == "encoder":
        frozen = list(model.encoder.trainable_variables)
    else:
        frozen = match_variables(variables, what, "model.freeze")
    ids = {id(v) for v in frozen}
    if len(frozen) == len(variables):
        raise UserError("model.freeze: matches every trainable variable; leave some to train")
    new_head = pretrained is not None and pretrained.labels != model.labels
    if new_head and any(id(v) in ids for v in model.decoder.weights):
        raise UserError("model.freeze: matches the head, which must be trained: its labels are new; narrow the pattern")
    for layer in _layers(model):
        inner = layer.trainable_variables
        if inner and all(id(v) in ids for v in inner):
            layer.trainable = False
    for variable in frozen:  # those that share a layer with trained ones
        variable.trainable = False
    return (
        f"frozen: {_amount(frozen)}; batch norms among them keep their running statistics, frozen blocks drop nothing; "
        f"trained: {_amount(model.trainable_variables)}"
    )


def _layers(model: JasperCTC) -> Iterator[keras.Layer]:
    """Yields the layers that behave differently when frozen, outer ones first."""
    yield model.encoder
    for block in model.encoder.blocks:
        yield from (block, *block.normalizations, *block.residual_normalizations)


def _amount(variables: Iterable[keras.Variable]) -> str:
    sizes = [math.prod(v.shape) for v in variables]
    return f"{len(sizes)} tensors ({sum(sizes):,} values)"


def _effective(preprocessor: dict[str, Any]) -> dict[str, Any]:
    """Returns the section with null replaced by the value that it means."""
    p = dict(preprocessor)
    p["n_fft"] = Framing.from_seconds(p["sample_rate"], p["window_size"], p["window_stride"], p["n_fft"]).fft_samples
    p["highfreq"] = p["highfreq"] or p["sample_rate"] / 2
    return p | {key: p[key] or "none" for key in ("window", "normalize")}


def _first_difference(ours: Any, theirs: Any, key: str) -> tuple[str, Any, Any] | None:
    if isinstance(ours, dict) and isinstance(theirs, dict):
        pairs = [(f"{key}.{name}", value, theirs.get(name)) for name, value in ours.items() if name not in _FREE]
    elif isinstance(ours, list) and isinstance(theirs, list) and any(isinstance(entry, dict) for entry in ours):
        if len(ours) != len(theirs):
            return key, f"{len(ours)} blocks", len(theirs)
        pairs = [(f"{key}.{i}", a, b) for i, (a, b) in enumerate(zip(ours, theirs, strict=True))]
    else:
        return None if ours == theirs else (key, ours, theirs)
    return next(filter(None, (_first_difference(a, b, name) for name, a, b in pairs)), None)
