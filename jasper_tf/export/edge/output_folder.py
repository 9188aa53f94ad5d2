"""Writes a folder that appears complete or not at all."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jasper_tf.errors import UserError
from jasper_tf.export.edge.model_info import MODEL_INFO, read_model_info
from jasper_tf.io.atomic_write import sync_folder

_TEMPORARY = ".writing-"


def validate_output_folder(output: str | Path, overwrite: bool) -> None:
    """Requires that `output` does not exist, is empty, or with `overwrite` holds an earlier export and nothing else.

    Raises:
        UserError: it is something else.
    """
    output = Path(output)
    if not os.path.lexists(output):
        return
    if not output.is_dir():
        raise UserError(f"--output {output}: is not a folder; name a folder")
    names = set(_names(output))
    if not names:
        return
    if MODEL_INFO not in names:
        raise UserError(f"--output {output}: holds files that no export wrote; name an empty or new folder")
    if not overwrite:
        raise UserError(f"--output {output}: holds an export already; name another, or replace it with --overwrite")
    foreign = names.difference(read_model_info(output / MODEL_INFO).files)
    if foreign:
        raise UserError(f"--output {output}: also holds {min(foreign)}, which no export wrote; move it away")


@contextmanager
def replace_folder(output: str | Path, overwrite: bool) -> Iterator[Path]:
    """Yields a new folder, which becomes `output` when the block ends without an error.

    A folder that is there gets the new files in the place of its own: it may be a mount point, or where a shell is.
    Meanwhile it has no `model.json`, without which nothing reads it.

    Raises:
        UserError: as `validate_output_folder`; the folder cannot be written to.
    """
    # With the end of a link, its target is written to and the link stays.
    output = Path(os.path.realpath(output))
    created = [folder for folder in output.parents if not folder.exists()]
    temporary = (output if output.is_dir() else output.parent) / f"{_TEMPORARY}{secrets.token_hex(8)}"
    try:
        temporary.mkdir(parents=True)
        try:
            yield temporary
            for entry in temporary.rglob("*"):
                if entry.is_dir():
                    sync_folder(entry)
                else:
                    with open(entry, "rb") as opened:
                        os.fsync(opened.fileno())
            sync_folder(temporary)
            validate_output_folder(output, overwrite)  # the work took long
            if temporary.parent == output:
                _replace_files(output, temporary)
            else:
                temporary.rename(output)
                sync_folder(output.parent)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            with contextlib.suppress(OSError):  # another export may be writing there
                for folder in created:
                    folder.rmdir()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise UserError(f"--output {output}: cannot write: {reason}; name a folder that can be written to") from None


def _replace_files(output: Path, new: Path) -> None:
    old = new.with_name(f"{new.name}-replaced")
    old.mkdir()
    moves = [(output, old, name) for name in _names(output)] + [(new, output, name) for name in reversed(_names(new))]
    done = []
    try:
        for source, target, name in moves:
            (source / name).rename(target / name)
            done.append((source, target, name))
        sync_folder(output)
    except BaseException:
        for source, target, name in reversed(done):
            (target / name).rename(source / name)
        old.rmdir()
        raise
    new.rmdir()
    shutil.rmtree(old, ignore_errors=True)


def _names(folder: Path) -> list[str]:
    """The names in a folder, `model.json` first; without those of exports that are writing there, or were killed."""
    names = [entry.name for entry in folder.iterdir() if not entry.name.startswith(_TEMPORARY)]
    return sorted(names, key=lambda name: (name != MODEL_INFO, name))
