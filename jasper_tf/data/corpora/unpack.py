"""Unpacks archives: the folder is complete or absent, and nothing is written elsewhere."""

from __future__ import annotations

import errno
import json
import lzma
import os
import re
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from jasper_tf.errors import UserError, one_line
from jasper_tf.io.progress import Progress, megabytes

_RECORD = ".unpacked.json"
"""A file in each unpacked folder that names its archive."""

_SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def is_archive(path: Path) -> bool:
    """Whether the name is that of an archive that `unpack` reads."""
    return path.name.lower().endswith(_SUFFIXES)


def archive_stem(path: Path) -> str:
    """The name without the archive's endings: "train-clean-100.tar.gz" -> "train-clean-100"."""
    return re.sub(r"(\.tar(\.(gz|bz2|xz))?|\.tgz|\.zip)$", "", path.name, flags=re.IGNORECASE)


def unpack(archive: str | os.PathLike, folder: str | os.PathLike) -> Path:
    """Unpacks a tar (plain, gzip, bzip2, xz) or a zip into the new folder `folder`.

    Members go to a folder next to it that is renamed at the end; after any error nothing is left. A folder that an
    earlier call made of the same archive is kept as it is. Owners and permissions in the archive are ignored.

    Raises:
        UserError: one line: `folder` exists and holds something else; the archive is unreadable, cut off, encrypted, or
            a tar with a member that leads out of the folder, is a link, a device or a pipe; the disk is full.
    """
    archive, folder = Path(archive), Path(folder)
    temporary = folder.with_name(f".{folder.name}.unpacking")
    try:
        record = {"archive": archive.name, "bytes": archive.stat().st_size}
        if folder.exists():
            if _read_record(folder) == record:
                return folder
            raise UserError(
                f"{folder}: is there already and not unpacked from this {archive.name}; "
                "move it away, give another --output, or give the folder itself as --source"
            )
        if temporary.exists():
            shutil.rmtree(temporary)  # of a call that was killed
        temporary.mkdir(parents=True)
        try:
            with _in_one_line(archive):
                (_unzip if _begins_as_zip(archive) else _untar)(archive, temporary)
                if not any(temporary.iterdir()):
                    raise UserError(f"{archive}: holds no file")
            (temporary / _RECORD).write_text(json.dumps(record))
            os.replace(temporary, folder)
        except BaseException:
            shutil.rmtree(temporary, ignore_errors=True)
            raise
    except OSError as error:
        raise _os_error(archive, folder, error) from None
    return folder


def _begins_as_zip(archive: Path) -> bool:
    # zipfile.is_zipfile looks at the end, where a tar may hold a zip.
    with open(archive, "rb") as file:
        return file.read(2) == b"PK"


def _untar(archive: Path, folder: Path) -> None:
    with (
        open(archive, "rb") as file,
        Progress(f"unpacking {archive.name}", archive.stat().st_size, megabytes) as progress,
        tarfile.open(fileobj=file, mode="r:*") as tar,
    ):
        for member in tar:
            # The filter lets links inside the folder through, and was tricked by chains of them before Python 3.11.13
            # (CVE-2025-4517). No corpus needs one.
            if member.issym() or member.islnk():
                raise tarfile.FilterError(f"{member.name!r} is a link (to {member.linkname!r})")
            tar.extract(member, folder, set_attrs=False, filter="data")
            progress.advance(file.tell() - progress.done)
        # The checksum of compressed data follows the archive's end, where tarfile never reads.
        while tar.fileobj is not None and tar.fileobj.read(1 << 20):
            pass


def _unzip(archive: Path, folder: Path) -> None:
    """zipfile itself keeps members inside the folder, and makes no links and devices."""
    with zipfile.ZipFile(archive) as packed:
        members = packed.infolist()
        total = sum(member.file_size for member in members)
        if total > shutil.disk_usage(folder).free:
            raise OSError(errno.ENOSPC, f"{megabytes(total)} are needed")
        with Progress(f"unpacking {archive.name}", total, megabytes) as progress:
            for member in members:
                packed.extract(member, folder)
                progress.advance(member.file_size)


@contextmanager
def _in_one_line(archive: Path) -> Iterator[None]:
    """Turns the errors of archive readers into a UserError."""
    try:
        yield
    except tarfile.FilterError as error:
        raise UserError(f"{archive}: {error}; nothing was unpacked, do not trust this archive") from None
    except (EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, tarfile.TarError) as error:
        raise UserError(f"{archive}: cut off, damaged, or no archive ({one_line(error)}); get it again") from None
    except (NotImplementedError, RuntimeError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"{archive}: cannot be unpacked ({one_line(error)})") from None


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
