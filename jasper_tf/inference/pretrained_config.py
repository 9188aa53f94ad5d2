"""What a configuration may leave to the pretrained model that it starts from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jasper_tf.config.section import MISSING
from jasper_tf.config.source import ConfigSource
from jasper_tf.errors import UserError
from jasper_tf.io.keras_archive import read_keras_config

INIT_KEYS = ("init_from_nemo_model", "init_from_pretrained_model")
_SECTIONS = ("sample_rate", "labels", "preprocessor", "encoder")


def take_over(source: ConfigSource) -> list[str]:
    """Fills in what `model` leaves out of `sample_rate`, `labels`, `preprocessor` and `encoder`; returns their names.

    Nothing is read when all four are there: a run's own configuration does not need the pretrained file any more.

    Raises:
        UserError: both keys are given; the pretrained model cannot be read; nothing to take the sections from.
    """
    tree, model = source.tree, source.tree.get("model")
    if not isinstance(model, dict):
        return []
    given = [key for key in INIT_KEYS if tree.get(key) not in (None, MISSING)]
    if len(given) == 2:
        raise source.error((given[1],), f"{given[0]} is given too; give one of the two")
    absent = [name for name in _SECTIONS if model.get(name) is None]
    if not given and {"labels", "preprocessor", "encoder"} <= set(absent):
        hint = " or ".join(f"{key}=PATH" for key in INIT_KEYS)
        raise source.error(
            ("model",), f"no labels, preprocessor and encoder; name the pretrained model that has them: {hint}"
        )
    if not given or not absent or not isinstance(tree[given[0]], str):
        return []
    key, path = given[0], tree[given[0]]
    try:
        sections = read_sections(key, path)
    except UserError as error:
        raise source.error((key,), str(error)) from None
    model.update({name: sections[name] for name in absent})
    return absent


def read_sections(key: str, path: str) -> dict[str, Any]:
    """`sample_rate`, `labels`, `preprocessor` and `encoder` of a pretrained model, without building it.

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
        # These two import this package.
        from jasper_tf.interop.nemo.archive import CONFIG, read_archive
        from jasper_tf.interop.nemo.config import from_nemo_config

        content = read_archive(path).config
        config, _ = from_nemo_config(content, f"{path}: {CONFIG}", Path(path).stem, "modern")
        return {name: config.to_dict()["model"][name] for name in _SECTIONS}
    file = Path(path) / "model.keras" if Path(path).is_dir() else Path(path)
    built = read_keras_config(file)
    for name in ("preprocessor", "encoder"):
        if not isinstance(built.get(name), dict):
            raise UserError(f"{file}: its configuration has no {name}")
    built["preprocessor"]["sample_rate"] = built.get("sample_rate")
    built["encoder"].pop("synchronized", None)
    return {name: built.get(name) for name in _SECTIONS}
