"""Refuses outputs of a command that would overwrite something."""

from __future__ import annotations

import argparse
import codecs
import os
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TextIO

from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import is_stdout, is_stream
from jasper_tf.io.object_storage import remote_exists
from jasper_tf.io.remote import is_remote

FileKind = Literal["text", "config", "png", "keras", "nemo", "wav", "arpa", "tokenizer"]

# By suffix, for files that are empty or text: what text outputs (JSON, JSON lines, TSV) never replace.
_NOT_TEXT = frozenset(
    ".keras .nemo .h5 .hdf5 .pb .npz .npy .tfrecord .tar .gz .zip .png .wav .flac .ogg .opus .mp3 .yaml .yml".split()
)
_MAGIC: dict[FileKind, tuple[tuple[int, bytes], ...]] = {
    "png": ((0, b"\x89PNG\r\n\x1a\n"),),
    "keras": ((0, b"PK\x03\x04"),),
    "nemo": ((0, b"\x1f\x8b"), (257, b"ustar")),
    "wav": ((0, b"RIFF"),),
    "arpa": ((0, b"\\data\\"), (0, b"\x1f\x8b")),
    "tokenizer": ((0, b"\n"),),  # of the first piece
}


@dataclass(frozen=True)
class Output:
    """A file that a command will write.

    Attributes:
        option: the option that names it, such as "--json".
        path: the file.
        kind: of its content; an existing file is replaced by one of the same kind only.
    """

    option: str
    path: str | Path
    kind: FileKind = "text"


def add_overwrite_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--overwrite`, the same for every command that writes files."""
    parser.add_argument("--overwrite", action="store_true", help="replace output files of an earlier call")


def validate_outputs(
    outputs: Iterable[Output], inputs: Iterable[str | Path | None], overwrite: bool, makes_folders: bool = False
) -> None:
    """Refuses outputs that would destroy something, before the work begins.

    Devices and pipes may always be written to. Files are compared as files: links and other spellings count.

    Args:
        outputs: of the command.
        inputs: files that it reads; None and missing files are skipped.
        overwrite: whether existing files may be replaced.
        makes_folders: whether the command makes the folders of its outputs.

    Raises:
        UserError: an output is a folder, one of the inputs, another output, a file of another kind, an existing file
            without `overwrite`, or in a folder that does not exist.
    """
    read = {identity: path for path in inputs if path is not None and (identity := _identity(path))}
    written: dict[object, Output] = {}
    for output in outputs:
        path, place = output.path, f"{output.option} {output.path}"
        if is_remote(str(path)):
            if str(path) in map(str, read.values()):
                raise UserError(f"{place}: is read by this command; name another")
            if not overwrite and remote_exists(str(path)):
                raise UserError(f"{place}: exists already; name another, or replace it with --overwrite")
            continue
        try:
            stream = is_stream(path)
        except UserError as error:
            raise UserError(f"{output.option} {error}") from None
        identity = _identity(path)
        if identity in read:
            raise UserError(f"{place}: is the same file as {read[identity]}, which is read; name another")
        if identity and (other := written.setdefault(identity, output)) is not output:
            raise UserError(f"{place}: is the same file as {other.option} {other.path}; name another")
        if stream:
            continue
        if os.path.exists(path):
            if not _has_kind(Path(os.path.realpath(path)), output.kind):
                raise UserError(f"{place}: exists and is not what this command writes; name another")
            if not overwrite:
                raise UserError(f"{place}: exists already; name another, or replace it with --overwrite")
        folder = os.path.dirname(os.path.realpath(path))
        if not makes_folders and not os.path.isdir(folder):
            raise UserError(f"{place}: cannot write: no folder {folder}; make it first")


def report_stream(outputs: Iterable[str | Path | None]) -> TextIO:
    """Where a command prints its report: stdout, or stderr if one of its output files is stdout ("-", /dev/stdout)."""
    return sys.stderr if any(path is not None and is_stdout(path) for path in outputs) else sys.stdout


def _identity(path: str | Path) -> object:
    """Equal for paths of one file; None for a terminal, /dev/null and the like, which any number may share."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return os.path.realpath(path) if "\0" not in os.fspath(path) else None
    return None if stat.S_ISCHR(status.st_mode) else (status.st_dev, status.st_ino)


def _has_kind(file: Path, kind: FileKind) -> bool:
    try:
        with open(file, "rb") as opened:
            head = opened.read(4096)
    except OSError:
        return False  # an unreadable file is not replaced
    if kind == "text" and file.suffix.lower() in _NOT_TEXT:
        return False
    if kind in ("text", "config"):
        try:
            # Incremental: the last character may be cut.
            return "\0" not in codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            return False
    return not head or any(head[at : at + len(magic)] == magic for at, magic in _MAGIC[kind])
