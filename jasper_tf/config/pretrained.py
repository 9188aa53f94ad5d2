"""Sections of `model` that a configuration leaves to the pretrained model that training starts from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from jasper_tf.config.section import MISSING
from jasper_tf.config.source import ConfigSource
from jasper_tf.errors import UserError

INIT_KEYS = ("init_from_nemo_model", "init_from_pretrained_model")
PRETRAINED_SECTIONS = ("sample_rate", "labels", "preprocessor", "encoder")

ReadSections = Callable[[str, str], Mapping[str, Any]]
"""(one of `INIT_KEYS`, path) -> the `PRETRAINED_SECTIONS` of that model, and `tokenizer`. Raises UserError."""


def take_over(source: ConfigSource, read_sections: ReadSections | None) -> list[str]:
    """Fills in the `PRETRAINED_SECTIONS` that `model` lacks and returns their names.

    Where the pretrained model writes word pieces, `tokenizer` comes in the place of `labels`; one with
    `update_tokenizer: false` counts as absent.

    Nothing is read when all are there: the configuration in a run's folder does not need the pretrained file.

    Raises:
        UserError: both keys are given; the pretrained model cannot be read; nothing to take the sections from.
    """
    tree, model = source.tree, source.tree.get("model")
    if not isinstance(model, dict):
        return []
    given = [key for key in INIT_KEYS if tree.get(key) not in (None, MISSING)]
    if len(given) == 2:
        raise source.error((given[1],), f"{given[0]} is given too; give one of the two")
    tokenizer = model.get("tokenizer")
    if given and isinstance(tokenizer, dict) and tokenizer.get("update_tokenizer") is False:
        del model["tokenizer"]
    absent = [name for name in PRETRAINED_SECTIONS if model.get(name) is None]
    if model.get("tokenizer") is not None and "labels" in absent:
        absent.remove("labels")
    if not given and {"labels", "preprocessor", "encoder"} <= set(absent):
        hint = " or ".join(f"{key}=PATH" for key in INIT_KEYS)
        raise source.error(
            ("model",), f"no labels, preprocessor and encoder; name the pretrained model that has them: {hint}"
        )
    if not given or not absent or not isinstance(tree[given[0]], str):
        return []
    key, path = given[0], tree[given[0]]
    if read_sections is None:
        raise source.error((key,), f"is not read here; write its {', '.join(absent)} into the file")
    try:
        sections = read_sections(key, path)
    except UserError as error:
        raise source.error((key,), str(error)) from None
    if "labels" in absent and sections.get("tokenizer") is not None:
        absent[absent.index("labels")] = "tokenizer"
    model.update({name: sections[name] for name in absent})
    return absent
