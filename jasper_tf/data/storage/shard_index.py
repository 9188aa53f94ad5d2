"""index.json of a folder of shards: what it must hold, and whether it does."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import tensorflow as tf

from jasper_tf.data.manifest.line import parse_line
from jasper_tf.data.storage.shard_reader import load_record
from jasper_tf.errors import UserError
from jasper_tf.io.remote import is_remote

INDEX_NAME = "index.json"
MANIFEST_NAME = "manifest.jsonl"
UNFINISHED_NAME = ".unfinished"

_FORMAT = "jasper_tf shards"
_VERSION = 1
_AGAIN = "copy the folder again, or run `python -m jasper_tf shard` again"


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
    """What index.json says; written last, so where it is the shards are complete."""

    utterances: int
    hours: float
    settings: dict[str, Any]
    """Of `write_shards`, and a checksum of the source: the same settings and source give the same bytes."""
    skipped: int
    """Utterances that could not be read and were left out."""
    rounded: int
    """Utterances whose sound was not of 16 bit before."""
    clipped_samples: int
    manifest_bytes: int
    manifest_sha256: str
    shards: list[Shard]

    def to_json(self) -> str:
        return json.dumps({"format": _FORMAT, "version": _VERSION, **asdict(self)}, indent=1, ensure_ascii=False) + "\n"


def read_index(folder: str) -> ShardIndex | None:
    """The index in `folder`; None if there is none, or an index.json of something else.

    Raises:
        UserError: it is broken, or of a version that this one does not know.
    """
    path = _join(folder, INDEX_NAME)
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
            f"{path}: is of version {version!r}, this program reads version {_VERSION}; make the shards anew"
        )
    try:
        index = ShardIndex(**{**values, "shards": [Shard(**shard) for shard in values["shards"]]})
        if not all(isinstance(s.file, str) and type(s.bytes) is int and "/" not in s.file for s in index.shards):
            raise TypeError
    except (KeyError, TypeError, AttributeError):
        raise UserError(f"{path}: is broken; {_AGAIN}") from None
    return index


def resolve_shards(path: str) -> str:
    """A folder of shards, its index.json or its manifest.jsonl -> the manifest, after a look at all sizes.

    Any other path is given back as it is: an ordinary manifest.

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
        if name == MANIFEST_NAME and not _exists(_join(folder, UNFINISHED_NAME)):
            return path
        raise UserError(
            f"{folder}: holds no {INDEX_NAME} of shards; name a manifest, or run the `shard` that was interrupted again"
        )
    sizes = [(MANIFEST_NAME, index.manifest_bytes), *((shard.file, shard.bytes) for shard in index.shards)]

    def fault(named: tuple[str, int]) -> str:
        file, expected = _join(folder, named[0]), named[1]
        try:
            size = tf.io.gfile.stat(file).length
        except tf.errors.NotFoundError:
            return f"{file}: no such file, but the index beside it names it; {_AGAIN}"
        except tf.errors.OpError as error:
            return f"{file}: cannot be read ({error.message})"
        return "" if size == expected else f"{file}: has {size} bytes, the index says {expected}; {_AGAIN}"

    with ThreadPoolExecutor(32 if is_remote(folder) else 4) as pool:
        faults = [text for text in pool.map(fault, sizes) if text]
    if faults:
        raise UserError(faults[0] + (f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""))
    return _join(folder, MANIFEST_NAME)


def verify_shards(folder: str, workers: int, progress: Callable[[int, int], None]) -> list[str]:
    """Reads every byte of a folder of shards again -> what is wrong, a line each; none: all is well.

    Checksums of all files against the index, and every record that the manifest names.

    Args:
        folder: of shards.
        workers: threads.
        progress: is told how many utterances are done, and of how many.

    Raises:
        UserError: `folder` holds no shards, or files that `resolve_shards` refuses.
    """
    manifest = resolve_shards(folder)
    index = read_index(folder)
    assert index is not None
    with ThreadPoolExecutor(workers) as pool:
        named = [(MANIFEST_NAME, index.manifest_sha256), *((shard.file, shard.sha256) for shard in index.shards)]
        sums = pool.map(lambda one: file_sha256(_join(folder, one[0])), named)
        wrong = [file for (file, expected), found in zip(named, sums, strict=True) if found != expected]
        faults = [f"{_join(folder, file)}: its checksum is not the index's; {_AGAIN}" for file in wrong]
        lines, done = _lines(manifest), 0
        while block := [line for _, line in zip(range(64 * workers), lines, strict=False)]:
            faults += [text for text in pool.map(lambda line: _fault_of_line(line, folder), block) if text]
            done += len(block)
            progress(done, index.utterances)
    if done != index.utterances:
        faults.append(f"{manifest}: has {done} utterances, the index says {index.utterances}; {_AGAIN}")
    return faults


def file_sha256(path: str) -> str:
    digest = hashlib.sha256()
    with tf.io.gfile.GFile(path, "rb") as file:
        while block := file.read(1 << 22):
            digest.update(block)
    return digest.hexdigest()


def _lines(manifest: str) -> Iterator[bytes]:
    with tf.io.gfile.GFile(manifest, "rb") as file:
        while line := file.readline():
            yield line


def _fault_of_line(line: bytes, folder: str) -> str:
    try:
        utterance = parse_line(line, folder, "", files_exist=True)
        if utterance is None or utterance.record is None:
            return f"{_join(folder, MANIFEST_NAME)}: a line without a record; {_AGAIN}"
        load_record(utterance.path, *utterance.record)
    except UserError as error:
        return str(error)
    return ""


def _join(folder: str, name: str) -> str:
    return f"{folder.rstrip('/')}/{name}"


def _exists(path: str) -> bool:
    return tf.io.gfile.exists(path)


def _is_folder(path: str) -> bool:
    return tf.io.gfile.isdir(path) if is_remote(path) else os.path.isdir(path)
