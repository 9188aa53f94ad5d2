"""Reads a NeMo-style YAML file into a checked, typed `Config`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

from jasper_tf.config.pretrained import ReadSections, take_over
from jasper_tf.config.rules import complete, inherit
from jasper_tf.config.schema import Config
from jasper_tf.config.section import MISSING, Section
from jasper_tf.config.section_reader import SectionReader, shown
from jasper_tf.config.source import ConfigSource, Keys
from jasper_tf.errors import UserError

S = TypeVar("S", bound=Section)


def load_config(
    path: str | Path,
    overrides: Sequence[str] = (),
    *,
    cross_check: bool = True,
    pretrained: ReadSections | None = None,
) -> Config:
    """Reads a configuration file.

    Args:
        path: a YAML file in NeMo's layout. A value `???` is allowed here; see `Config.require`.
        overrides: `a.b.c=value`, values as in YAML, entries of lists by number: `model.encoder.jasper.0.dropout=0.1`.
        cross_check: False checks each value alone, not whether they fit together, and fills in nothing.
        pretrained: reads the sections that the file leaves to a pretrained model. Default: lacking them is an error.

    Raises:
        UserError: the file cannot be read; a key is unknown, twice or missing; a value has a wrong type or does not
            fit another; a feature is not supported. One line with file, line (or "command line") and full key.
    """
    source = ConfigSource.from_file(path)
    if "space" in source.tree and "model" not in source.tree:
        raise UserError(f"{source.name}: the file of a search, not a configuration of a training; use tune")
    # The pretrained model first, so that the other overrides can change what comes from it. Before it what keeps its
    # labels or its tokenizer from being taken over.
    first = [o for o in overrides if o.lstrip("+").startswith(("init_from_", "model.labels=", "model.tokenizer"))]
    source.override(first)
    taken_over = take_over(source, pretrained)
    source.override([o for o in overrides if o not in first])
    replaced = {o.lstrip("+").partition("=")[0].strip() for o in overrides}
    return _build(source, [name for name in taken_over if f"model.{name}" not in replaced], cross_check)


def config_from_dict(values: Mapping[str, Any], source: str = "configuration") -> Config:
    """`load_config` for values that are already in memory; `source` names them in messages."""
    tree = ConfigSource(source, values)
    return _build(tree, take_over(tree, None))


def read_section(kind: type[S], source: ConfigSource, keys: Keys = ()) -> S:
    """The values of `source` at `keys` as a section that is not part of `Config`; `${...}` stays as it is.

    Raises:
        UserError: as `load_config`; a value `???` is refused.
    """
    values: Any = source.tree
    for key in keys:
        values = values[key]
    if not isinstance(values, dict):
        raise source.error(keys, f"expected a mapping, got {shown(values)}")
    for key, value in values.items():
        if value == MISSING:
            raise source.error((*keys, key), "no value yet; give one")
    return SectionReader(source).read(kind, values, keys)


def _build(source: ConfigSource, taken_over: list[str], cross_check: bool = True) -> Config:
    values = source.resolve(skip=Config.IGNORED)
    inherit(values)
    reader = SectionReader(source)
    config = reader.read(Config, values)
    config.ignored, config.taken_over, config.source = reader.ignored, taken_over, source.name
    if cross_check:
        complete(config, source)
    return config
