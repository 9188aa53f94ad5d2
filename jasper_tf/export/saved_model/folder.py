"""Folder layout of SavedModels: numbered versions, as TensorFlow Serving reads them."""

from __future__ import annotations

import os
from pathlib import Path

EXTRA = "assets.extra"
"""Folder that TensorFlow's loader ignores: information for people and clients."""


def versions(output: Path) -> dict[int, Path]:
    """Finds the numbered versions in the folder of a SavedModel's versions; none in one that cannot be read."""
    try:
        return {int(entry.name): entry for entry in output.iterdir() if entry.name.isdecimal()}
    except OSError:
        return {}


def find_saved_model(folder: str | Path) -> Path | None:
    """Returns `folder` if it is a SavedModel, its newest version if it holds versions, else None."""
    newest_first = (version for _, version in sorted(versions(Path(folder)).items(), reverse=True))
    return next((one for one in (Path(folder), *newest_first) if os.path.isfile(one / "saved_model.pb")), None)
