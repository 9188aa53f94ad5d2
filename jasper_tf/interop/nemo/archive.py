"""The `.nemo` file: a tar, plain or gzip, of a configuration, the weights and the files of a tokenizer."""

from __future__ import annotations

import gzip
import io
import os
import tarfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from jasper_tf.errors import UserError, one_line
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.bounded_yaml import MOST_BYTES
from jasper_tf.text.read_tokenizer import MOST_BYTES as MOST_TOKENIZER_BYTES
from jasper_tf.text.sentencepiece_tokenizer import MODEL, SCORES, VOCABULARY

CONFIG, WEIGHTS = "model_config.yaml", "model_weights.ckpt"

# Float weights shrink to 0.6 to 0.95 of their size; data beyond both limits are meant to fill the memory.
_MOST_EXPANSION, _ALWAYS_ALLOWED = 20, 64 * 2**20
_MOST_MEMBERS = 1000


@dataclass(frozen=True)
class NemoArchive:
    """Content of a `.nemo` file.

    Attributes:
        config: `model_config.yaml`, YAML text as bytes.
        weights: `model_weights.ckpt`, see `torch_checkpoint`.
        others: names of further files, which are not read.
        tokenizer: by name, the files of a tokenizer: those whose names end in `tokenizer.model` or `vocab.txt`. None:
            not read.
    """

    config: bytes
    weights: bytes
    others: tuple[str, ...] = ()
    tokenizer: Mapping[str, bytes] | None = None


def read_archive(path: str | Path) -> NemoArchive:
    """Reads a `.nemo` into memory; nothing is unpacked to disk.

    NeMo 1.x writes gzip tars, 3.x plain ones; the content decides, not the name.

    Raises:
        UserError: not such an archive, cut off, without one of the two files, or malicious: a path that is
            absolute or has `..`, a link, a device, a sparse file, a name twice, or more data than it declares.
    """
    path = Path(path)
    try:
        with open(path, "rb") as file:
            return _read_tar(path, file)
    except OSError as error:
        if isinstance(error, gzip.BadGzipFile):
            raise UserError(f"{path}: damaged gzip data ({error}); get the file again") from None
        raise UserError(f"{path}: cannot read this archive ({error.strerror or error})") from None
    except (EOFError, zlib.error) as error:
        raise UserError(f"{path}: cut off or damaged gzip data ({error}); get the file again") from None
    # RecursionError: tarfile reads a chain of extended headers by calling itself.
    except (tarfile.TarError, ValueError, OverflowError, RecursionError) as error:
        if isinstance(error, UserError):
            raise
        reason = one_line(error)
        raise UserError(f"{path}: cut off, damaged, or no .nemo archive ({reason}); get the file again") from None


def write_archive(path: str | Path, config: str, weights: bytes, others: Mapping[str, bytes] | None = None) -> None:
    """Writes the plain tar that NeMo 2 and 3 write and NeMo 1.x reads; the same input gives the same bytes.

    Args:
        path: of the archive.
        config, weights: see `NemoArchive`.
        others: further files by name.

    Raises:
        UserError: `path` cannot be written.
    """
    with atomic_write(path, binary=True) as file, tarfile.open(fileobj=file, mode="w|") as tar:
        for name, content in {**(others or {}), CONFIG: config.encode(), WEIGHTS: weights}.items():
            member = tarfile.TarInfo(f"./{name}")
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))


def _read_tar(path: Path, file: BinaryIO) -> NemoArchive:
    stored = os.fstat(file.fileno()).st_size
    compressed = file.read(2) == b"\x1f\x8b"
    file.seek(0)
    most = max(_MOST_EXPANSION * stored, _ALWAYS_ALLOWED) if compressed else stored
    source = _Bounded(gzip.GzipFile(fileobj=file) if compressed else file, most, path)
    found: dict[str, bytes] = {}
    others: dict[str, None] = {}
    # As a stream: each byte is read once and counted.
    with tarfile.open(fileobj=source, mode="r|") as tar:
        for number, member in enumerate(tar):
            name = _checked_name(path, member)
            if number >= _MOST_MEMBERS:
                raise UserError(f"{path}: more than {_MOST_MEMBERS} members; a .nemo has a handful")
            if member.size > most or (name == CONFIG and member.size > MOST_BYTES):
                real = f"the file has {stored} bytes" + (" of gzip data" if compressed else "")
                raise UserError(f"{path}: {name} declares {member.size} bytes, {real}; cut off, or made to do harm")
            if name in found or name in others:
                raise UserError(f"{path}: holds {name} twice; do not trust this file")
            if member.isdir():
                continue
            is_tokenizer = name.endswith((MODEL, VOCABULARY))
            if not is_tokenizer and name not in (CONFIG, WEIGHTS):
                others[name] = None  # `SCORES` repeats what the model holds
                continue
            if is_tokenizer and member.size > MOST_TOKENIZER_BYTES:
                raise UserError(f"{path}: {name} has {member.size:,} bytes; a tokenizer has {MOST_TOKENIZER_BYTES:,}")
            content = tar.extractfile(member)
            assert content is not None  # a regular file has content
            found[name] = content.read()
            if len(found[name]) != member.size:
                raise UserError(f"{path}: {name} is cut off, {len(found[name])} of {member.size} bytes; get it again")
    while source.read(2**20):
        pass  # gzip compares its checksum at the end of the file, which the tar reader does not reach
    for name in (CONFIG, WEIGHTS):
        if name not in found:
            held = ", ".join([*found, *others]) or "nothing"
            raise UserError(f"{path}: has no {name} (it holds {held}): no .nemo of an acoustic model, or cut off")
    config, weights = found.pop(CONFIG), found.pop(WEIGHTS)
    return NemoArchive(config, weights, tuple(name for name in others if not name.endswith(SCORES)), found)


def _checked_name(path: Path, member: tarfile.TarInfo) -> str:
    name, shown = member.name, f"{member.name[:100]!r}"
    pure = PurePosixPath(name)
    if not name.isprintable():
        raise UserError(f"{path}: member {shown} has a name that cannot be printed; do not trust this file")
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or ":" in name or "\0" in name:
        raise UserError(f"{path}: member {shown} points out of the archive; do not trust this file")
    if member.issym() or member.islnk():
        raise UserError(f"{path}: member {shown} is a link (to {member.linkname[:100]!r}); do not trust this file")
    if member.issparse() or not (member.isreg() or member.isdir()):
        raise UserError(f"{path}: member {shown} is neither a plain file nor a folder; do not trust this file")
    return str(pure)


class _Bounded(io.RawIOBase):
    """A reader that fails after more than `most` bytes."""

    def __init__(self, source: BinaryIO | gzip.GzipFile, most: int, path: Path):
        self._source, self._left, self._path = source, most, path

    def read(self, size: int = -1) -> bytes:
        content = self._source.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(content)
        if self._left < 0:
            raise UserError(f"{self._path}: its gzip data expand far more than weights can; do not trust this file")
        return content
