"""Writes files that appear complete or not at all."""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import shutil
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

from jasper_tf.errors import UserError
from jasper_tf.io.object_storage import upload
from jasper_tf.io.remote import is_remote

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_FOLDER_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES)  # the file system, or a folder's mode, forbids it
_MOST_LINKS = 40  # Linux follows no more


@contextmanager
def atomic_write(path: str | Path, binary: bool = False) -> Iterator[IO[Any]]:
    """Opens a file (UTF-8 text, or bytes) that replaces `path` when the block ends without an error.

    A temporary file next to `path` is written, synced to the disk and renamed; after an error `path` is unchanged. The
    target of a link is replaced, the link stays. The mode bits of an existing file are kept. A device, a pipe or an
    open descriptor is written directly; "-" is standard output; what is in object storage is uploaded at the end.

    Raises:
        UserError: `path` is a folder or cannot be written; the disk is full.
    """
    if is_stream(path):
        with _open_stream(path, binary) as file:
            yield file
        return
    with atomic_path(path) as temporary, _open(temporary, "x", binary) as file:
        yield file


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """As `atomic_write`, for a library that opens files by name: yields the path to write, with the same suffix."""
    if is_remote(os.fspath(path)):
        with tempfile.TemporaryDirectory() as folder:
            complete = Path(folder) / Path(path).name
            yield complete
            upload(complete, os.fspath(path))
        return
    if is_stream(path):
        try:
            with tempfile.TemporaryDirectory() as folder:
                complete = Path(folder) / Path(path).name
                yield complete
                with open(complete, "rb") as source, _open_stream(path, binary=True) as file:
                    shutil.copyfileobj(source, file)
        except OSError as error:
            if error.errno in _FULL:
                raise _cannot_write(path, error) from None
            raise
        return
    target = Path(os.path.realpath(path))
    # The end of the name: it has the suffix. At most 50 characters, as names are limited to 255 bytes.
    temporary = target.with_name(f".writing-{secrets.token_hex(8)}-{target.name[-50:]}")
    try:
        yield temporary
        try:
            _replace(temporary, target)
        except OSError as error:
            raise _cannot_write(path, error) from None
    except BaseException as error:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and (error.errno in _FULL or error.filename == str(temporary)):
            raise _cannot_write(path, error) from None
        raise


def is_stream(path: str | Path) -> bool:
    """Whether `path` is a device, a pipe, a socket or an open descriptor: something to write to, not to replace.

    Raises:
        UserError: `path` is a folder, or not a valid path.
    """
    if is_remote(os.fspath(path)):
        return False
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG  # to be made, or the target of a dangling link to be made
    except (OSError, ValueError) as error:
        raise _cannot_write(path, error) from None
    if stat.S_ISDIR(mode) or os.fspath(path).endswith(os.sep):
        raise UserError(f"{path}: is a folder, give the name of a file")
    return not stat.S_ISREG(mode) or _descriptor(path) is not None


def is_stdout(path: str | Path) -> bool:
    """Whether `path` is standard output: "-", /dev/stdout or /dev/fd/1."""
    return _descriptor(path) == 1


def _descriptor(path: str | Path) -> int | None:
    """N where `path` is /dev/fd/N or a link to it, such as /dev/stdout; 1 for "-"."""
    if os.fspath(path) == "-":
        return 1
    name = os.path.abspath(path)
    for _ in range(_MOST_LINKS):
        folder, last = os.path.split(name)
        if last.isdecimal() and os.path.realpath(folder) == f"/proc/{os.getpid()}/fd":
            return int(last)
        if not os.path.islink(name):
            return None
        name = os.path.join(folder, os.readlink(name))
    return None


def _open(file: str | Path | int, mode: str, binary: bool) -> IO[Any]:
    return open(file, f"{mode}b") if binary else open(file, mode, encoding="utf-8")


@contextmanager
def _open_stream(path: str | Path, binary: bool) -> Iterator[IO[Any]]:
    name, descriptor = os.fspath(path), _descriptor(path)
    try:
        if descriptor is None:
            file = _open(name, "w", binary)
        else:
            # Opened by name, a redirected /dev/stdout would be cut to nothing and have a second position.
            if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
                raise OSError(errno.EBADF, "open for reading only")
            file = _open(os.dup(descriptor), "w", binary)
        with file:
            yield file
    except BrokenPipeError:
        raise  # its reader has closed it
    except OSError as error:
        if error.errno in (*_FULL, errno.EBADF) or error.filename == name:
            raise _cannot_write(path, error) from None
        raise


def _replace(temporary: Path, target: Path) -> None:
    with open(temporary, "rb") as file:
        with suppress(FileNotFoundError):
            os.fchmod(file.fileno(), stat.S_IMODE(target.stat().st_mode))
        os.fsync(file.fileno())
    os.replace(temporary, target)
    sync_folder(target.parent)


def sync_folder(folder: str | Path) -> None:
    """Waits until the names in `folder` are on the disk, so that a power cut does not undo a rename."""
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


def _cannot_write(path: str | Path, error: Exception) -> UserError:
    reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    full = isinstance(error, OSError) and error.errno in _FULL
    todo = "make room and run the same command again" if full else "name a place that exists and can be written to"
    return UserError(f"{path}: cannot write: {reason}; {todo}")
