"""Folder layout of SavedModels: numbered versions, as TensorFlow Serving reads them."""

from __future__ import annotations

import os
from pathlib import Path

EXTRA = "assets.extra"
"""Folder that TensorFlow's loader ignores: information for people and clients."""


def versions(output: Path) -> list[int]:
    """Lists the version numbers in the folder of a SavedModel's versions."""
    return [int(entry.name) for entry in output.iterdir() if entry.name.isdecimal()]


def find_saved_model(folder: str | Path) -> Path | None:
    """Returns `folder` if it is a SavedModel, its newest version if it holds versions, else None."""
    folder = Path(folder)
    if os.path.isfile(folder / "saved_model.pb"):
        return folder
    if os.path.isdir(folder):
        for version in sorted(versions(folder), reverse=True):
            if os.path.isfile(folder / str(version) / "saved_model.pb"):
                return folder / str(version)
    return None
