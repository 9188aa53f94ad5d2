"""The `decoding` section as a call or a command gives it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from jasper_tf.config.loading import read_section
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.config.source import COMMAND_LINE, ConfigSource
from jasper_tf.errors import UserError, shorten

_SECTION = "decoding"


def read_decoding(values: DecodingConfig | Mapping[str, Any]) -> DecodingConfig:
    """The keys of a `decoding` section as one; a `DecodingConfig` stays as it is.

    Raises:
        UserError: names the key whose value is wrong.
    """
    if isinstance(values, DecodingConfig):
        return values
    return read_section(DecodingConfig, ConfigSource(_SECTION, {_SECTION: values}), (_SECTION,))


def override_decoding(decoding: DecodingConfig, overrides: Sequence[str]) -> DecodingConfig:
    """`decoding` with `decoding.a.b=value` or `model.decoding.a.b=value` applied, values as in YAML.

    Args:
        decoding: such as that of a model, `model.decoding_config`.
        overrides: as a command gives them.

    Raises:
        UserError: an override of something else, an unknown key, a wrong value, or a setting of the beam for another
            strategy.
    """
    overrides = [o.removeprefix("model.") if o.startswith(f"model.{_SECTION}.") else o for o in overrides]
    keys = [override.partition("=")[0].strip() for override in overrides]
    for override, key in zip(overrides, keys, strict=True):
        if not key.startswith(f"{_SECTION}."):
            shown = shorten(override)
            raise UserError(f"{COMMAND_LINE}: '{shown}' is not an override of {_SECTION}.KEY=VALUE")
    source = ConfigSource(COMMAND_LINE, {_SECTION: dataclasses.asdict(decoding)})
    source.override(overrides)
    found = read_section(DecodingConfig, source, (_SECTION,))
    of_beam = [key for key in keys if key.startswith(f"{_SECTION}.beam")]
    if found.is_greedy and of_beam:
        raise source.error(tuple(of_beam[0].split(".")), f"is for the beam search; add {_SECTION}.strategy=beam")
    return found
