"""Loads a trained model, whoever wrote it: a run's folder, a `.keras` file or a NeMo archive."""

from __future__ import annotations

import itertools
import tempfile
import warnings
from pathlib import Path
from typing import Any

from jasper_tf.config import Config, config_from_dict
from jasper_tf.errors import UserError
from jasper_tf.inference.keras_weights import StoredWeights, extract_keras_weights
from jasper_tf.interop.nemo.model import import_nemo
from jasper_tf.io.keras_archive import CONFIG, read_keras_config
from jasper_tf.model.jasper_ctc import JasperCTC, build_model
from jasper_tf.model.validate_weights import validate_weights

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
    "name",
}
# Samples of a frame times mel bands: 2**15 in the published models.
_LARGEST_FILTERBANK = 2**24


def load_model(path: str | Path) -> JasperCTC:
    """A trained model: a run's folder (its best weights so far), a `.keras` file or a NeMo archive (`.nemo`).

    The file need not be trusted: no code in it is run, no class but JasperCTC is made, and what it declares is compared
    with what it holds before memory is taken for it.

    Raises:
        UserError: nothing there, not a model of this package, damaged, or made to do harm.
    """
    path = Path(path)
    if path.suffix == ".nemo":
        return import_nemo(path).model
    file = path / "model.keras" if path.is_dir() else path
    if not file.is_file():
        hint = "it holds no model.keras yet: was a validation reached?" if path.is_dir() else "no such file"
        raise UserError(f"{path}: {hint}; give a run's folder, a model.keras or a .nemo")
    try:
        model = _load_keras(file)
    except Exception as error:  # of damaged files: Keras, TensorFlow and h5py pass on every class of exception
        # Values of the file are part of some messages.
        text = " ".join(str(error).split()).removeprefix(f"{file}: ")
        reason = "".join(c if c.isprintable() else "?" for c in text)[:300]
        what = "" if isinstance(error, UserError) else f"its weights are not those of its {CONFIG}: "
        raise UserError(f"{file}: {what}{reason}") from error
    validate_weights(model.weights, str(file))
    return model


def _load_keras(file: Path) -> JasperCTC:
    """By `load_weights`, not `keras.saving.load_model`: that makes objects of the classes that the file names."""
    arguments = read_keras_config(file)
    config = _checked_config(arguments, f"{file}: {CONFIG}")
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        weights, stored = extract_keras_weights(file, folder)
        _validate_size(config, stored, f"{file}: {CONFIG}")
        model = build_model(config, synchronized=bool(arguments["encoder"].get("synchronized")))
        warnings.simplefilter("ignore")  # Keras's lines on what it skips: the optimizer
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
    # What only training reads: the schema wants an optimizer.
    model |= {"decoder": {"init_mode": arguments.get("decoder_init_mode")}, "optim": {"name": "sgd", "lr": 0.1}}
    config = config_from_dict({"name": "model", "seed": arguments.get("seed"), "model": model}, source)
    config.require("model.labels", "model.preprocessor", "model.encoder")
    return config


def _validate_size(config: Config, stored: StoredWeights, source: str) -> None:
    """Compares the least that the model needs with what the file stores, before a model of any size is built."""
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
            f"{stored.values} in {stored.arrays}; damaged, or made to do harm"
        )
