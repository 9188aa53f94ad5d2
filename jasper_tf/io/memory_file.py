"""Gives bytes in memory a path, and reads remote files."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from jasper_tf.errors import AudioError

_LONGEST_REASON = 120


@contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """Gives the bytes of an audio file a path, so that they go through the checks of files."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("recording")
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
    else:  # macOS has neither memfd nor /proc
        with tempfile.NamedTemporaryFile() as temporary:
            temporary.write(content)
            temporary.flush()
            yield temporary.name


def read_remote(path: str) -> bytes:
    """Reads a file with `tf.io.gfile`, from a path with a scheme (gs://, s3://).

    Raises:
        AudioError: no such file ("missing"), or no access ("unreadable").
    """
    import tensorflow as tf  # takes seconds; local files do without

    try:
        with tf.io.gfile.GFile(path, "rb") as file:
            return file.read()
    except tf.errors.NotFoundError:
        raise AudioError(path, "missing", "cannot be read (no such file); check the path") from None
    except tf.errors.OpError as error:
        # Some file systems give no reason, others a page of HTTP.
        reason = " ".join(error.message.split())[:_LONGEST_REASON] or type(error).__name__.removesuffix("Error")
        raise AudioError(path, "unreadable", f"cannot be read ({reason}); check the path and the access") from None
