"""Loads configurations, also those that leave sections to the pretrained model that they start from."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jasper_tf import config
from jasper_tf.config.pretrained import INIT_KEYS, PRETRAINED_SECTIONS
from jasper_tf.decoding.build_tokenizer import TOKENIZER_FOLDER
from jasper_tf.errors import UserError
from jasper_tf.inference.model_path import find_model_file, local_model
from jasper_tf.interop.nemo.archive import CONFIG, read_archive
from jasper_tf.interop.nemo.config import from_nemo_config
from jasper_tf.io.keras_archive import read_keras_config


def load_config(path: str | Path, overrides: Sequence[str] = (), *, cross_check: bool = True) -> config.Config:
    """Reads a configuration file; sections that it lacks come from the pretrained model that it names.

    Args:
        path: a YAML file in NeMo's layout. A value `???` is allowed here; see `Config.require`.
        overrides: `a.b.c=value`, values as in YAML, entries of lists by number: `model.encoder.jasper.0.dropout=0.1`.
        cross_check: False checks each value alone, not whether they fit together, and fills in nothing.

    Raises:
        UserError: as `config.load_config`, or the pretrained model cannot be read.
    """
    found: dict[str, Any] = {}

    def read(key: str, pretrained: str) -> dict[str, Any]:
        found.update(read_sections(key, pretrained))
        if found["tokenizer"] is None:
            return found
        place = os.path.join(pretrained, TOKENIZER_FOLDER) if os.path.isdir(pretrained) else pretrained
        return {**found, "tokenizer": {"dir": place, "type": found["tokenizer"]["type"]}}

    loaded = config.load_config(path, overrides, cross_check=cross_check, pretrained=read)
    if "tokenizer" in loaded.taken_over and loaded.model.tokenizer is not None:
        loaded.model.tokenizer.content = found["tokenizer"]
    return loaded


def read_sections(key: str, path: str) -> dict[str, Any]:
    """Reads `sample_rate`, `labels`, `preprocessor` and `encoder` of a pretrained model, without building it.

    `tokenizer` is what its tokenizer's `get_config` gives if the labels are word pieces, else None.

    Args:
        key: one of `INIT_KEYS`.
        path: a NeMo archive, or a run's folder or `.keras` file, as `key` says.

    Raises:
        UserError: not such a model.
    """
    nemo = key == "init_from_nemo_model"
    if nemo != (Path(path).suffix == ".nemo"):
        other = INIT_KEYS[nemo]
        raise UserError(f"{path}: {'not a .nemo file' if nemo else 'a NeMo archive'}; use {other}")
    if nemo:
        found, _ = from_nemo_config(read_archive(local_model(path)), f"{path}: {CONFIG}", Path(path).stem, "modern")
        given = found.model.tokenizer
        sections = {name: found.to_dict()["model"][name] for name in PRETRAINED_SECTIONS}
        return sections | {"tokenizer": given and given.content}
    file = find_model_file(local_model(path))
    built = read_keras_config(file)
    for name in ("preprocessor", "encoder"):
        if not isinstance(built.get(name), dict):
            raise UserError(f"{file}: its configuration has no {name}")
    built["preprocessor"]["sample_rate"] = built.get("sample_rate")
    built["encoder"].pop("synchronized", None)
    return {name: built.get(name) for name in (*PRETRAINED_SECTIONS, "tokenizer")}
