"""The configurations that come with the package."""

from __future__ import annotations

import functools
import os
import re
from pathlib import Path

from jasper_tf.errors import UserError, shorten
from jasper_tf.io.progress import logger

SEARCH = "tune.yaml"
"""The packaged file of a search; the others are configurations of a training."""
_FOLDER = Path(__file__).resolve().parents[1] / "configs"


def packaged_configs() -> dict[str, Path]:
    """Maps the names of the packaged configurations (`an4.yaml`) to their files."""
    return {file.name: file for file in sorted(_FOLDER.glob("*.yaml"))}


def find_config(path: str | Path) -> Path:
    """Returns `path`, or the packaged configuration of that name where no such path exists, and logs which.

    Args:
        path: a file; `an4.yaml` and `configs/an4.yaml` name a packaged one too.

    Raises:
        UserError: a folder; a name without a folder is neither a file nor packaged.
    """
    path = Path(path)
    if os.path.isdir(path):
        file = path / "config.yaml"
        instead = f"its configuration is {shorten(file)}" if os.path.isfile(file) else "give a YAML file"
        raise UserError(f"{shorten(path)}: a folder, not a configuration; {instead}")
    if os.path.lexists(path) or str(path.parent) not in (".", "configs"):
        return path
    packaged = packaged_configs()
    if path.name in packaged:
        _log_once(path, packaged[path.name])
        return packaged[path.name]
    if path.name == str(path):
        names = ", ".join(name for name in packaged if name != SEARCH)
        raise UserError(
            f"{shorten(path)}: cannot read this configuration (No such file or directory); "
            f"the packaged ones are {names}, and for a search {SEARCH}"
        )
    return path


def summary(file: Path) -> str:
    """The first line of a configuration's comment."""
    found = re.match(r"# *(.*)", file.read_text(encoding="utf-8"))
    return found[1] if found else ""


@functools.cache
def _log_once(path: Path, file: Path) -> None:  # a search reads its configuration for every trial
    logger.info(f"using the packaged {path.name} ({file})")
