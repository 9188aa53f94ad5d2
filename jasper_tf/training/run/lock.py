"""Lock that allows one process per run folder."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import time
from pathlib import Path
from typing import BinaryIO

from jasper_tf.errors import UserError

_UNSUPPORTED = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)


class RunLock:
    """Exclusive lock of a folder, held until `close` or the end of the process.

    A `flock` on `run.lock`, which the kernel releases when the process ends, also by SIGKILL: a left-over file locks
    nothing. The file contains process id, host and start time, for the error message of other processes.

    Args:
        folder: an existing folder.

    Attributes:
        supported: False if the file system has no locks; then nothing is locked.

    Raises:
        UserError: another process holds the lock.
        OSError: the file cannot be written.
    """

    def __init__(self, folder: Path):
        self.path = folder / "run.lock"
        self.supported = True
        self._file: BinaryIO | None = None
        self._acquire()

    def _acquire(self) -> None:
        while True:
            # Not inherited by child processes or through exec.
            file = open(self.path, "a+b", buffering=0)
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # The former owner may have deleted the file in between.
                if self.path.exists() and os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                    break
                file.close()
            except BlockingIOError:
                with file:
                    file.seek(0)
                    holder = "".join(c for c in file.read(200).decode(errors="replace") if c.isprintable())
                raise UserError(
                    f"{self.path.parent}: another process trains here ({holder or 'starting now'}); wait for it, stop "
                    "it, or start another run with exp_manager.name=..."
                ) from None
            except OSError as error:
                file.close()
                if error.errno not in _UNSUPPORTED:
                    raise
                self.supported = False
                self.path.unlink(missing_ok=True)
                return
        self._file = file
        with contextlib.suppress(OSError):  # a full disk must not stop the run here
            file.truncate(0)
            file.write(
                f"pid {os.getpid()} on {socket.gethostname()}, since {time.strftime('%Y-%m-%d %H:%M:%S')}".encode()
            )

    def close(self) -> None:
        """Releases the lock and deletes its file."""
        if self._file:
            with contextlib.suppress(OSError):  # the disk may have become read-only
                self.path.unlink()
            self._file.close()
            self._file = None
