"""The index of a folder of shards, and whether the folder is complete."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from jasper_tf.errors import UserError
from jasper_tf.io.object_storage import StorageError, is_remote_folder, read_remote, remote_exists, remote_size
from jasper_tf.io.remote import is_remote, remote_name
from jasper_tf.io.thread_pool import map_in_order

INDEX_NAME = "index.json"
MANIFEST_NAME = "manifest.jsonl"
UNFINISHED_NAME = ".unfinished"

_FORMAT = "jasper_tf shards"
_VERSION = 1
_BLOCK_BYTES = 1 << 22
REPAIR_ADVICE = "copy the folder again, or run `python -m jasper_tf shard` again"


@dataclass(frozen=True)
class Shard:
    """One shard file, as the index describes it."""

    file: str
    utterances: int
    samples: int
    bytes: int
    sha256: str


@dataclass(frozen=True)
class ShardIndex:
    """The content of index.json, which is written last: where it exists the shards are complete."""

    utterances: int
    hours: float
    settings: dict[str, Any]
    """Of `write_shards`, and a checksum of the source: the same settings and source give the same bytes."""
    skipped: int
    """Utterances that could not be read and were left out."""
    rounded: int
    """Utterances whose samples were rounded to 16 bits."""
    clipped_samples: int
    manifest_bytes: int
    manifest_sha256: str
    shards: list[Shard]

    def to_json(self) -> str:
        return json.dumps({"format": _FORMAT, "version": _VERSION, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def read_index(folder: str) -> ShardIndex | None:
    """The index in `folder`; None if there is none, or an index.json of something else.

    Raises:
        UserError: it is broken, or of an unknown version.
    """
    path = remote_name(folder, INDEX_NAME)
    if not _exists(path):
        return None
    try:
        if is_remote(path):
            content = read_remote(path)
        else:
            with open(path, "rb") as file:
                content = file.read()
    except (FileNotFoundError, IsADirectoryError):
        return None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    try:
        values = json.loads(content)
    except (ValueError, RecursionError):
        values = {"format": _FORMAT, "version": _VERSION} if _FORMAT.encode() in content else None
    if not isinstance(values, dict) or values.pop("format", None) != _FORMAT:
        return None
    version = values.pop("version", None)
    if version != _VERSION:
        raise UserError(
            f"{path}: is of version {version!r}, this program reads version {_VERSION}; create the shards again"
        )
    try:
        index = ShardIndex(**{**values, "shards": [Shard(**shard) for shard in values["shards"]]})
        if not all(isinstance(s.file, str) and type(s.bytes) is int and "/" not in s.file for s in index.shards):
            raise TypeError
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: is broken; {REPAIR_ADVICE}") from None
    return index


def resolve_shards(path: str) -> str:
    """A folder of shards, its index.json or its manifest.jsonl -> the manifest, after all file sizes are compared.

    Any other path, of an ordinary manifest, is returned as it is.

    Raises:
        UserError: the folder holds no index (sharding has not finished), or a file that it names is missing or has
            another size.
    """
    path = os.fspath(path)
    folder, _, name = path.rstrip("/").rpartition("/")
    folder = folder or ("/" if path.startswith("/") else ".")
    if name not in (INDEX_NAME, MANIFEST_NAME):
        if not _is_folder(path):
            return path
        folder, name = path.rstrip("/") or "/", ""
    index = read_index(folder)
    if index is None:
        if name == MANIFEST_NAME and not _exists(remote_name(folder, UNFINISHED_NAME)):
            return path
        raise UserError(
            f"{folder}: holds no {INDEX_NAME} of shards; name a manifest (`prepare` makes them of recordings), or run "
            "the `shard` that was interrupted again"
        )
    sizes = [(MANIFEST_NAME, index.manifest_bytes), *((shard.file, shard.bytes) for shard in index.shards)]

    def fault(named: tuple[str, int]) -> str:
        file, expected = remote_name(folder, named[0]), named[1]
        try:
            size = remote_size(file) if is_remote(file) else os.stat(file).st_size
        except (FileNotFoundError, StorageError) as error:
            if isinstance(error, StorageError) and error.kind != "missing":
                return str(error)
            return f"{file}: no such file, but the index beside it names it; {REPAIR_ADVICE}"
        except OSError as error:
            return f"{file}: cannot be read ({error.strerror})"
        return "" if size == expected else f"{file}: has {size} bytes, the index says {expected}; {REPAIR_ADVICE}"

    faults = [text for text in map_in_order(fault, sizes, 32 if is_remote(folder) else 4) if text]
    if faults:
        raise UserError(faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""))
    return remote_name(folder, MANIFEST_NAME)


def file_sha256(path: str) -> str:
    """The SHA-256 of a file in hexadecimal."""
    digest = hashlib.sha256()
    if is_remote(path):
        size = remote_size(path)
        for start in range(0, size, _BLOCK_BYTES):
            digest.update(read_remote(path, start, min(start + _BLOCK_BYTES, size)))
        return digest.hexdigest()
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _exists(path: str) -> bool:
    return remote_exists(path) if is_remote(path) else os.path.lexists(path)


def _is_folder(path: str) -> bool:
    return is_remote_folder(path) if is_remote(path) else os.path.isdir(path)
