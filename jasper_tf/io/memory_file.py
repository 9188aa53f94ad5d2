"""Gives bytes in memory a path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


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
