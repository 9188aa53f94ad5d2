"""Reads untrusted files in bounded memory and time."""

from __future__ import annotations

import errno
import io
import os
import select
import stat
import time
from pathlib import Path

from jasper_tf.errors import UserError, shorten

_PATIENCE_S = 10.0
"""How long a pipe or a device may take to give all it has."""
_CHUNK = 1 << 16


def read_bounded(path: str | Path, most: int, what: str = "file") -> bytes:
    """Reads a file, a pipe or a device of at most `most` bytes.

    Args:
        path: a regular file; a pipe such as /dev/stdin or a shell's `<(...)` is read to its end.
        most: bytes.
        what: what the file is, for messages.

    Raises:
        UserError: it cannot be opened or read, holds more than `most` bytes, or is a pipe that
            does not end within 10 s.
    """
    shown = shorten(path)
    try:
        # Without O_NONBLOCK, opening a FIFO waits for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except ValueError:
        raise UserError(f"{shown}: cannot read this {what} (no path has such a character)") from None
    except OSError as error:
        reason = "is a socket" if error.errno == errno.ENXIO else error.strerror
        raise UserError(f"{shown}: cannot read this {what} ({reason})") from None
    try:
        content = _read(descriptor, most)
    except TimeoutError:
        reason = f"did not end within {_PATIENCE_S:.0f} s; does anything write to this pipe?"
        raise UserError(f"{shown}: this {what} {reason}") from None
    except OSError as error:
        raise UserError(f"{shown}: cannot read this {what} ({error.strerror})") from None
    finally:
        os.close(descriptor)
    if content is None:
        raise UserError(f"{shown}: larger than {most:,} bytes, the most that a {what} may have")
    return content


def _read(descriptor: int, most: int) -> bytes | None:
    """None for more than `most` bytes."""
    status = os.fstat(descriptor)
    if stat.S_ISREG(status.st_mode) and status.st_size > most:
        return None
    content = io.BytesIO()
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    deadline = time.monotonic() + _PATIENCE_S
    while content.tell() <= most:
        # A regular file is always ready. A FIFO that no one has opened for writing is not.
        if not poll.poll(max(0.0, deadline - time.monotonic()) * 1000):
            raise TimeoutError
        try:
            part = os.read(descriptor, _CHUNK)
        except BlockingIOError:
            continue
        if not part:
            return content.getvalue()
        content.write(part)
    return None
