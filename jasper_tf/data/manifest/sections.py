"""The manifests of a data section of a configuration."""

from __future__ import annotations

import os
from collections.abc import Iterable

from jasper_tf.config import Config
from jasper_tf.config.sections.data_schema import DatasetConfig
from jasper_tf.data.manifest.columns import manifest_paths
from jasper_tf.io.file_access import require_regular_file
from jasper_tf.io.remote import is_remote


def data_sets(dataset: DatasetConfig) -> dict[str, list[str]]:
    """Maps the name of each set to its manifests."""
    if dataset.input_cfg is not None:
        return {str(k): manifest_paths(entry.manifest_filepath) for k, entry in enumerate(dataset.input_cfg)}
    manifests = dataset.manifest_filepath
    if isinstance(manifests, dict):
        return {name: manifest_paths(paths) for name, paths in manifests.items()}
    assert manifests is not None
    return {"": manifest_paths(manifests)}


def data_key(cfg: Config, section: str) -> str:
    """Returns the key with the manifests of `model.<section>`."""
    dataset = getattr(cfg.model, section)
    return f"model.{section}.{'input_cfg' if dataset and dataset.input_cfg is not None else 'manifest_filepath'}"


def require_manifests(cfg: Config, sections: Iterable[str]) -> None:
    """Requires that the manifests of `model.<section>` are given and exist, without reading them.

    Raises:
        UserError: no manifest is given, or one is missing.
    """
    cfg.require(*(data_key(cfg, section) for section in sections))
    for section in sections:
        for paths in data_sets(getattr(cfg.model, section)).values():
            for path in paths:
                if not is_remote(path) and not os.path.isdir(path):  # a folder is one of shards
                    require_regular_file(path, "manifest")
