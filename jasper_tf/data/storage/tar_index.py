"""Index of the recordings in the tar files of NeMo's tarred datasets."""

from __future__ import annotations

import functools
import itertools
import math
import os
import re
import tarfile
from collections.abc import Sequence
from typing import IO

from jasper_tf.errors import UserError
from jasper_tf.io.object_storage import remote_size, scan_remote
from jasper_tf.io.remote import is_remote

_OPEN = ("(", "[", "<", "_OP_")
_CLOSE = (")", "]", ">", "_CL_")
_MOST_TARS = 100_000
_SUB = re.compile(r"-sub\d+(?=\.[^.]*$|$)")


def expand_tar_paths(patterns: str | Sequence) -> list[str]:
    """`tarred_audio_filepaths` -> the tar files: 'x/audio_{0..7}.tar', 'x/audio__OP_0..7_CL_.tar', lists of those.

    As in NeMo, `(`, `[`, `<` and `_OP_` also mean `{`, and what closes them `}`.

    Raises:
        UserError: a brace is not closed, or there is no path.
    """
    if not isinstance(patterns, str):
        if not patterns:
            raise UserError("tarred_audio_filepaths: no tar file is given")
        return [path for pattern in patterns for path in expand_tar_paths(pattern)]
    braces = patterns
    for key in _OPEN:
        braces = braces.replace(key, "{")
    for key in _CLOSE:
        braces = braces.replace(key, "}")
    parts = [part.strip() for part in re.split(r",(?![^{]*\})", braces)]
    paths = [os.path.expanduser(path) for part in parts if part for path in _expand(part, patterns)]
    if not paths:
        raise UserError("tarred_audio_filepaths: no tar file is given")
    return paths


def _expand(part: str, written: str) -> list[str]:
    pieces: list[list[str]] = []
    for piece in re.split(r"(\{[^{}]*\})", part):
        span = re.fullmatch(r"\{(\d{1,9})\.\.(\d{1,9})\}", piece)
        if span:
            low, high = span.groups()
            padded = any(len(end) > 1 and end.startswith("0") for end in (low, high))
            width = max(len(low), len(high)) if padded else 0
            step = 1 if int(low) <= int(high) else -1
            numbers = range(int(low), int(high) + step, step)
            pieces.append([str(n).zfill(width) for n in numbers[: _MOST_TARS + 1]])
        elif piece.startswith("{"):
            pieces.append(piece[1:-1].split(","))
        elif "{" in piece or "}" in piece:
            raise UserError(f"tarred_audio_filepaths: {written!r} has a brace without its other half")
        else:
            pieces.append([piece])
        if math.prod(map(len, pieces)) > _MOST_TARS:
            raise UserError(f"tarred_audio_filepaths: {written!r} expands to more than {_MOST_TARS:,} files")
    return ["".join(choice) for choice in itertools.product(*pieces)]


class TarIndex:
    """Where in which tar file each recording is; only headers are read.

    Args:
        paths: the tar files, plain (not compressed); in object storage too.

    Raises:
        UserError: a file is missing, no tar file, compressed, or cut off.
    """

    def __init__(self, paths: Sequence[str]):
        self.paths = list(paths)
        self._members = [_members(path) for path in self.paths]
        numbers = [re.findall(r"\d+", os.path.basename(path)) for path in self.paths]
        self._tars_of_shard: dict[int, list[int]] = {}
        for tar, found in enumerate(numbers):
            # Names that do not number them: shard_id counts the files as they are given.
            shard = int(found[-1]) if all(numbers) else tar
            self._tars_of_shard.setdefault(shard, []).append(tar)

    def __len__(self) -> int:
        return sum(map(len, self._members))

    @functools.cached_property
    def _tars_of(self) -> dict[str, list[int]]:
        """The tar files that hold each name: only lines without a shard_id need it."""
        tars: dict[str, list[int]] = {}
        for tar, members in enumerate(self._members):
            for name in members:
                tars.setdefault(name, []).append(tar)
        return tars

    def find(self, name: str, shard_id: int | None = None) -> tuple[str, int, int]:
        """The tar file that holds `name`, first byte and size there.

        Args:
            name: `audio_filepath` of a manifest's line; "x-sub2.wav" is, as NeMo writes it, one more utterance of
                "x.wav".
            shard_id: of the line: the number in the tar file's name. Default: the only file that holds the name.

        Raises:
            UserError: it is nowhere, or in several files.
        """
        for candidate in (name, _SUB.sub("", name)):
            if shard_id is None:
                tars = self._tars_of.get(candidate, [])
            else:
                tars = [tar for tar in self._tars_of_shard.get(shard_id, []) if candidate in self._members[tar]]
            if len(tars) > 1:
                advice = "its line needs a shard_id" if shard_id is None else "give each set an entry of its own"
                raise UserError(f"{name}: is in {len(tars)} tar files; {advice}")
            if tars:
                return (self.paths[tars[0]], *self._members[tars[0]][candidate])
        where = f"the {len(self.paths)} tar files" if shard_id is None else f"the tar file of shard_id {shard_id}"
        raise UserError(f"{name}: is not in {where}; correct tarred_audio_filepaths, or remove the line")


def _members(path: str) -> dict[str, tuple[int, int]]:
    """Names of the files in a tar file, each with its first byte and size."""
    if is_remote(path):
        return scan_remote(path, lambda file: _scan(path, file, remote_size(path)))
    try:
        with open(path, "rb") as file:
            return _scan(path, file, os.fstat(file.fileno()).st_size)
    except FileNotFoundError:
        raise UserError(f"{path}: no such tar file; correct tarred_audio_filepaths") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None


def _scan(path: str, file: IO[bytes], length: int) -> dict[str, tuple[int, int]]:
    found: dict[str, tuple[int, int]] = {}
    try:
        with tarfile.open(fileobj=file, mode="r:") as tar:
            for member in tar:
                name = member.name.removeprefix("./")
                if member.islnk():  # the same file a second time
                    found[name] = found[member.linkname.removeprefix("./")]
                elif member.isfile():
                    if member.offset_data + member.size > length:
                        raise tarfile.ReadError("unexpected end of data")
                    found[name] = (member.offset_data, member.size)
                tar.members = []  # type: ignore[attr-defined]  # or tarfile keeps every header
    except (tarfile.TarError, KeyError, EOFError) as error:
        raise UserError(
            f"{path}: is not a whole, plain tar file ({error}); copy it again, or unpack its compression"
        ) from None
    return found
