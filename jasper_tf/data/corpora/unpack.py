"""Archives to folders: nothing outside the folder, and the folder whole or not there."""

from __future__ import annotations

import errno
import json
import lzma
import os
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from jasper_tf.errors import UserError
from jasper_tf.io.progress import ProgressLine, megabytes

_RECORD = ".unpacked.json"
"""In each folder that was unpacked here: of which archive."""

_FILTER: dict[str, Any] = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}
"""A second guard behind the checks here; Python has it from 3.11.4 on."""

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that `unpack` reads."""
    return path.name.lower().endswith(_SUFFIXES)


def archive_stem(path: Path) -> str:
    """The name without the archive's endings: "train-clean-100.tar.gz" -> "train-clean-100"."""
    return re.sub(r"(\.tar(\.(gz|bz2|xz))?|\.tgz|\.zip)$", "", path.name, flags=re.IGNORECASE)


def unpack(archive: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Unpacks a tar (plain, gzip, bzip2, xz) or a zip into the new folder `folder`.

    Members go to a folder beside it that is renamed at the end; after any error nothing is left. A folder that an
    earlier call made of the same archive is kept as it is. Owners and permissions of the archive are not taken over.

    Raises:
        UserError: one line: `folder` is there and of something else; the archive is unreadable, cut off, encrypted, or
            has a member that is an absolute path, has `..`, is a link, a device or a pipe; the disk is full.
    """
    archive, folder = Path(archive), Path(folder)
    beside = folder.with_name(f".{folder.name}.unpacking")
    try:
        record = {"archive": archive.name, "bytes": archive.stat().st_size}
        if folder.exists():
            if _read_record(folder) == record:
                return folder
            raise UserError(
                f"{folder}: is there already and not unpacked from this {archive.name}; "
                "move it away, give another --output, or give the folder itself as --source"
            )
        if beside.exists():
            shutil.rmtree(beside)  # of a call that was killed
        beside.mkdir(parents=True)
        try:
            with _one_line(archive, beside):
                (_unzip if _begins_as_zip(archive) else _untar)(archive, beside)
            (beside / _RECORD).write_text(json.dumps(record))
            os.replace(beside, folder)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
    except OSError as error:
        raise _os_error(archive, folder, error) from None
    return folder


def _begins_as_zip(archive: Path) -> bool:
    # zipfile.is_zipfile looks at the end, where a tar may hold a zip.
    with open(archive, "rb") as file:
        return file.read(2) == b"PK"


def _untar(archive: Path, folder: Path) -> None:
    with open(archive, "rb") as file, ProgressLine(f"unpacking {archive.name}", archive.stat().st_size, megabytes) as p:
        with tarfile.open(fileobj=file, mode="r:*") as tar:
            members = 0
            for member in tar:
                _check_name(archive, member.name)
                if member.issym() or member.islnk():
                    raise _refused(archive, member.name, f"is a link (to {member.linkname!r})")
                if not (member.isreg() or member.isdir()):
                    raise _refused(archive, member.name, "is neither a file nor a folder")
                tar.extract(member, folder, set_attrs=False, **_FILTER)
                members += 1
                p.advance(file.tell() - p.done)
            if not members:
                raise UserError(f"{archive}: holds no file")
            # The checksum of compressed data comes behind the archive's end, where tarfile never reads.
            while tar.fileobj is not None and tar.fileobj.read(1 << 20):
                pass


def _unzip(archive: Path, folder: Path) -> None:
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        if not members:
            raise UserError(f"{archive}: holds no file")
        for member in members:
            # orig_filename: ZipFile cuts the other one at a NUL and turns separators around.
            _check_name(archive, member.orig_filename)
            kind = stat.S_IFMT(member.external_attr >> 16)
            if kind == stat.S_IFLNK:
                raise _refused(archive, member.filename, "is a link")
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _refused(archive, member.filename, "is neither a file nor a folder")
            if member.flag_bits & 1:
                raise UserError(f"{archive}: is encrypted; unpack it by hand and give the folder as --source")
        total = sum(member.file_size for member in members)
        if total > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, f"{megabytes(total)} are needed")
        with ProgressLine(f"unpacking {archive.name}", total, megabytes) as progress:
            for member in members:
                packed.extract(member, folder)
                progress.advance(member.file_size)


def _check_name(archive: Path, name: str) -> None:
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name or "\0" in name or re.match(r"[A-Za-z]:", name):
        raise _refused(archive, name, "points out of the archive")


def _refused(archive: Path, name: str, what: str) -> UserError:
    return UserError(f"{archive}: member {name!r} {what}; nothing was unpacked, do not trust this archive")


@contextmanager
def _one_line(archive: Path, folder: Path) -> Iterator[None]:
    """What the readers of archives raise, as a UserError."""
    try:
        yield
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise UserError(
            f"{archive}: cut off, damaged, or no archive ({' '.join(str(error).split())}); get it again"
        ) from None
    except (NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{archive}: cannot be unpacked ({' '.join(str(error).split())})") from None


def _os_error(archive: Path, folder: Path, error: OSError) -> UserError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return UserError(f"{folder}: the disk is full while unpacking {archive.name}; make room and run it again")
    if error.errno is None:  # gzip's and bz2's complaints about the data
        return UserError(f"{archive}: cut off, damaged, or no archive ({error}); get it again")
    return UserError(f"{error.filename or archive}: {error.strerror}")


def _read_record(folder: Path) -> dict | None:
    try:
        return json.loads((folder / _RECORD).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
