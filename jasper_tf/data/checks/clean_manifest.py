"""Writes a manifest without its faulty lines."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.faults import FaultLog
from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import atomic_write


def validate_clean_manifest(path: str | Path, manifests: Sequence[CheckedManifest]) -> None:
    """Refuses a `path` in another folder, where relative paths in the lines of `manifests` would name other files."""
    path = Path(path)
    here = os.path.realpath(path.absolute().parent)
    for manifest in manifests:
        if manifest.relative and os.path.realpath(manifest.file.folder) != here:
            raise UserError(
                f"--write-clean {path}: {manifest.path} names files relative to its own folder; "
                f"write it there: {os.path.join(manifest.file.folder, path.name)}"
            )


def write_clean_manifest(path: str | Path, manifests: Sequence[CheckedManifest], log: FaultLog) -> tuple[int, int]:
    """Writes the lines without a fault, byte for byte, manifest after manifest -> lines written and left out.

    Raises:
        UserError: see `validate_clean_manifest`; a manifest was changed since its check, or no utterance would be left.
    """
    validate_clean_manifest(path, manifests)
    written = left_out = 0
    with atomic_write(path, binary=True) as out:
        for manifest in manifests:
            manifest.file.require_unchanged()
            ends = b"\n"
            for number, _, line in manifest.file.lines(as_written=True):
                if log.is_faulty(manifest.path, number):
                    left_out += 1
                    continue
                if not ends.endswith(b"\n"):
                    out.write(b"\n")
                out.write(line)
                ends = line
                written += bool(line.strip(b"\xef\xbb\xbf \t\r\n"))
            if manifest is not manifests[-1] and not ends.endswith(b"\n"):
                out.write(b"\n")
        if not written:
            raise UserError(f"--write-clean {path}: no line is without a fault; nothing is written")
    return written, left_out
