"""Bytes in memory as a file that has a path."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def in_memory(content: bytes) -> Iterator[str]:
    """A path under which a sound file's bytes can be opened, so that the checks of files hold for them as well."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("recording")
        with open(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            yield f"/proc/self/fd/{descriptor}"
    else:  # macOS has neither
        with tempfile.NamedTemporaryFile() as temporary:
            temporary.write(content)
            temporary.flush()
            yield temporary.name
