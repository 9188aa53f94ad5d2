"""The index of a folder of shards, and whether the folder is complete."""

from __future__ import annotations

import hashlib
import json
import os
from dataclasses import asdict, dataclass
from typing import Any

from jasper_tf.errors import UserError
from jasper_tf.io.remote import is_remote
from jasper_tf.io.thread_pool import map_in_order

INDEX_NAME = "index.json"
MANIFEST_NAME = "manifest.jsonl"
UNFINISHED_NAME = ".unfinished"

_FORMAT = "jasper_tf shards"
_VERSION = 1
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
    path = join(folder, INDEX_NAME)
    if not _exists(path):
        return None
    import tensorflow as tf  # takes seconds; where there are no shards, local files do without

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            content = file.read()
    except (tf.errors.NotFoundError, tf.errors.FailedPreconditionError):
        return None
    except tf.errors.OpError as error:
        raise UserError(f"{path}: cannot be read ({error.message})") from None
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
        if name == MANIFEST_NAME and not _exists(join(folder, UNFINISHED_NAME)):
            return path
        raise UserError(
            f"{folder}: holds no {INDEX_NAME} of shards; name a manifest (`prepare` makes them of recordings), or run "
            "the `shard` that was interrupted again"
        )
    import tensorflow as tf  # as in read_index

    sizes = [(MANIFEST_NAME, index.manifest_bytes), *((shard.file, shard.bytes) for shard in index.shards)]

    def fault(named: tuple[str, int]) -> str:
        file, expected = join(folder, named[0]), named[1]
        try:
            size = tf.io.gfile.stat(file).length
        except tf.errors.NotFoundError:
            return f"{file}: no such file, but the index beside it names it; {REPAIR_ADVICE}"
        except tf.errors.OpError as error:
            return f"{file}: cannot be read ({error.message})"
        return "" if size == expected else f"{file}: has {size} bytes, the index says {expected}; {REPAIR_ADVICE}"

    faults = [text for text in map_in_order(fault, sizes, 32 if is_remote(folder) else 4) if text]
    if faults:
        raise UserError(faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""))
    return join(folder, MANIFEST_NAME)


def file_sha256(path: str) -> str:
    """The SHA-256 of a file in hexadecimal; `tf.io.gfile` reads it."""
    import tensorflow as tf  # as in read_index

    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def join(folder: str, name: str) -> str:
    """The path of a file in a folder, remote ones too."""
    return f"{folder.rstrip('/')}/{name}"


def _exists(path: str) -> bool:
    if is_remote(path):
        import tensorflow as tf  # as in read_index

        return tf.io.gfile.exists(path)
    return os.path.lexists(path)


def _is_folder(path: str) -> bool:
    if is_remote(path):
        import tensorflow as tf  # as in read_index

        return tf.io.gfile.isdir(path)
    return os.path.isdir(path)
