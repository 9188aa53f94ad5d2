"""The commit of this checkout and the versions of installed packages."""

from __future__ import annotations

import subprocess
from importlib import metadata
from pathlib import Path


def package_version(package: str) -> str | None:
    """The version of an installed package; None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """The commit of this package's checkout, with "-dirty" appended if files are changed; None without git."""
    revision = git("rev-parse", "HEAD")
    return f"{revision}-dirty" if revision and git("status", "--porcelain") else revision


def git(*arguments: str) -> str | None:
    """The output of a git command in this package's checkout; None if it fails."""
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():  # installed, maybe inside another project's checkout
        return None
    try:
        done = subprocess.run(["git", *arguments], cwd=root, capture_output=True, text=True)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None
