"""Loads a `.keras` file that need not be trusted."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from pathlib import Path
from typing import Any

from jasper_tf.config import Config, config_from_dict
from jasper_tf.errors import UserError
from jasper_tf.inference.keras_weights import StoredWeights, extract_keras_weights
from jasper_tf.io.keras_archive import CONFIG, read_keras_config
from jasper_tf.model.jasper_ctc import JasperCTC, build_model

_KNOWN = {
    "labels",
    "preprocessor",
    "encoder",
    "spec_augment",
    "interctc",
    "decoder_init_mode",
    "decoding",
    "sample_rate",
    "seed",
    "tokenizer",
    "name",
}
# Samples of a frame times mel bands: 2**15 in the published models.
_LARGEST_FILTERBANK = 2**24


def load_keras_file(file: Path) -> JasperCTC:
    """Loads a `.keras` file; none of its code is run, and the sizes it declares are compared with its content.

    By `load_weights`: `keras.saving.load_model` would create objects of the classes that the file names.

    Raises:
        UserError: what is wrong with its configuration.
        Exception: of damaged weights, Keras, TensorFlow and h5py raise every class.
    """
    arguments = read_keras_config(file)
    config = _checked_config(arguments, f"{file}: {CONFIG}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        weights, stored = extract_keras_weights(file, folder)
        _validate_size(config, stored, f"{file}: {CONFIG}")
        model = build_model(config, synchronized=bool(arguments["encoder"].get("synchronized")))
        warnings.simplefilter("ignore")  # of Keras, about the optimizer that it skips
        model.load_weights(weights)
    return model


def _checked_config(arguments: dict[str, Any], source: str) -> Config:
    unknown = arguments.keys() - _KNOWN
    if unknown:
        raise UserError(f"{source}: {min(unknown)[:80]!r} is not an argument of JasperCTC")
    model = {key: arguments.get(key) for key in ("labels", "sample_rate", "spec_augment", "interctc", "decoding")}
    for key in ("preprocessor", "encoder"):
        if not isinstance(arguments.get(key), dict):
            raise UserError(f"{source}: {key}: missing")
        model[key] = {name: value for name, value in arguments[key].items() if name != "synchronized"}
    # Only training reads it, but the schema requires an optimizer.
    model |= {"decoder": {"init_mode": arguments.get("decoder_init_mode")}, "optim": {"name": "sgd", "lr": 0.1}}
    tokenizer = arguments.get("tokenizer")
    if tokenizer is not None:
        if not isinstance(tokenizer, dict):
            raise UserError(f"{source}: tokenizer: not a mapping")
        model["tokenizer"] = {"dir": "tokenizer", "type": tokenizer.get("type")}
    config = config_from_dict({"name": "model", "seed": arguments.get("seed"), "model": model}, source)
    if config.model.tokenizer is not None:
        config.model.tokenizer.content = tokenizer
    config.require(config.model.labels_key, "model.preprocessor", "model.encoder")
    return config


def _validate_size(config: Config, stored: StoredWeights, source: str) -> None:
    """Compares the smallest size of the model with the size of the file, before the model is built."""
    front, encoder = config.model.preprocessor, config.model.encoder
    frame = max(front.n_fft or 0, front.window_size * config.model.sample_rate)
    if frame * front.features > _LARGEST_FILTERBANK:
        raise UserError(f"{source}: preprocessor: frames of {frame:.0f} samples in {front.features} bands; too large")
    arrays = values = panes = 0
    widths = [encoder.feat_in * encoder.frame_splicing, *(block.filters for block in encoder.jasper)]
    for block, (before, filters) in zip(encoder.jasper, itertools.pairwise(widths), strict=True):
        panes = panes + 1 if block.residual and block.residual_dense else 1
        pairs = block.repeat + (panes if block.residual else 0)
        arrays += 2 * pairs
        values += pairs * filters + block.repeat * before * filters // block.groups
        values += int(block.kernel[0] * block.kernel_size_factor)
    if arrays > stored.arrays or values > stored.values:
        raise UserError(
            f"{source}: describes a model of at least {values} values in {arrays} arrays, the file holds "
            f"{stored.values} in {stored.arrays}; damaged or malicious"
        )
