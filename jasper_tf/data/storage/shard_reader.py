"""Reads the audio of a record of a shard."""

from __future__ import annotations

import errno
import functools
import os
import stat
import threading
from collections import OrderedDict

import numpy as np

from jasper_tf.data.storage.shard_record import decode_record, open_frame
from jasper_tf.errors import AudioError, AudioErrorKind, UserError
from jasper_tf.io.object_storage import StorageError, read_remote, remote_size
from jasper_tf.io.remote import is_remote

SHARD_SUFFIX = ".tfrecord"

_OPEN_FILES = 128
"""Shards that a process keeps open; the usual limit of all its files is 1024."""


def load_record(
    path: str, start: int, size: int, sample_rate: int = 16000, out: np.ndarray | None = None
) -> np.ndarray:
    """Reads the record at bytes `start` to `start + size` of a shard -> audio [S] float32, full scale 1.

    Checksums and length are checked. Any number of threads may call it.

    Args:
        path: the shard; in object storage too (gs://, s3://).
        start, size: first byte and bytes of the record with its frame, as `record` in the manifest says.
        sample_rate: wanted rate in Hz; a shard of another rate is resampled (soxr HQ).
        out: as in `load_audio`.

    Raises:
        UserError: the shard is missing, unreadable or cut off, or the record is damaged or not an utterance. One line
            that begins with the path and names the record.
    """
    try:
        return decode_record(open_frame(read_part(path, start, size)), sample_rate, out)
    except AudioError:
        raise
    except UserError as error:
        raise AudioError(path, "unreadable", f"the record at byte {start} {error}") from None


def read_part(path: str, start: int, size: int) -> bytes:
    """The bytes `start` to `start + size` of a shard or an archive.

    Raises:
        UserError: the file is missing, unreadable or ends before.
    """
    part, length = _remote_part(path, start, size) if is_remote(path) else _local_part(path, start, size)
    if len(part) < size:
        raise AudioError(
            path,
            "cut",
            f"the file is cut off at byte {length}, its part from {start} to {start + size} is asked for; "
            "copy it again, or take the manifest that belongs to it",
        )
    return part


def _local_part(path: str, start: int, size: int) -> tuple[bytes, int]:
    try:
        file = _opened(path)
        length = file.bytes
        # A wrong size must not ask for all memory.
        if start + size > length:
            return b"", length
        part = os.pread(file.descriptor, size, start)
        while 0 < len(part) < size:  # Linux reads 2 GiB at most, a network file system less
            more = os.pread(file.descriptor, size - len(part), start + len(part))
            if not more:
                break
            part += more
    except OSError as error:
        kind: AudioErrorKind = "missing" if isinstance(error, FileNotFoundError) else "unreadable"
        raise _unreadable(path, kind, (error.strerror or str(error)).lower()) from None
    return part, length


def _remote_part(path: str, start: int, size: int) -> tuple[bytes, int]:
    try:
        length = _remote_length(path)
        # A wrong size must not ask for all memory.
        return (b"" if start + size > length else read_remote(path, start, start + size)), length
    except StorageError as error:
        _remote_length.cache_clear()
        kind: AudioErrorKind = "missing" if error.kind == "missing" else "unreadable"
        raise AudioError(path, kind, f"cannot be read ({error.detail})") from None


@functools.lru_cache(maxsize=1 << 16)
def _remote_length(path: str) -> int:
    return remote_size(path)


class _OpenFile:
    """A descriptor that lives as long as someone reads from it."""

    def __init__(self, path: str):
        self.descriptor = -1
        self.descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
        found = os.fstat(self.descriptor)
        self.identity, self.bytes = _identity(found), found.st_size

    def __del__(self):
        if self.descriptor >= 0:
            os.close(self.descriptor)


_files: OrderedDict[str, _OpenFile] = OrderedDict()
_files_lock = threading.Lock()


def _opened(path: str) -> _OpenFile:
    found = os.stat(path)
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file")
    identity = _identity(found)
    with _files_lock:
        file = _files.get(path)
        if file is None or file.identity != identity:
            file = _files[path] = _OpenFile(path)
        _files.move_to_end(path)
        if len(_files) > _OPEN_FILES:
            _files.popitem(last=False)
    return file


def _identity(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def _unreadable(path: str, kind: AudioErrorKind, reason: str) -> AudioError:
    reason = " ".join(reason.removeprefix(f"{path}; ").split())
    detail = f"cannot be read ({reason}); copy it again, or take the manifest that belongs to it"
    return AudioError(path, kind, detail)
