"""Whether a path can be opened as a regular file, and why not."""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path
from typing import Literal, NamedTuple

from jasper_tf.errors import UserError, shorten


class NoAccess(NamedTuple):
    """Why a path cannot be opened as a regular file.

    Args:
        kind: "missing" or "unreadable".
        reason: text for a message, where it follows the path.
    """

    kind: Literal["missing", "unreadable"]
    reason: str


def why_no_access(path: str | Path) -> NoAccess | None:
    """What is wrong with `path`; None if it is a regular file that can be opened."""
    try:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            with open(path, "rb"):
                return None
    except (FileNotFoundError, NotADirectoryError):
        # A dangling link exists, its target does not.
        if os.path.islink(path):
            return NoAccess("missing", f"no such file (a link to {os.readlink(path)})")
        return NoAccess("missing", "no such file")
    except OSError as error:
        if error.errno == errno.ELOOP:
            return NoAccess("unreadable", "is a link that leads back to itself")
        if is_out_of_files(error):
            return NoAccess("unreadable", OUT_OF_FILES)
        return NoAccess("unreadable", f"cannot be read ({(error.strerror or str(error)).lower()})")
    except ValueError as error:  # a NUL in the path
        return NoAccess("unreadable", f"cannot be read ({error})")
    is_folder = stat.S_ISDIR(found.st_mode)
    return NoAccess("unreadable", "is a directory, not a file" if is_folder else "is not a regular file")


OUT_OF_FILES = "cannot be read (too many open files); try again later, or raise the limit (ulimit -n)"
"""The message for an error that `is_out_of_files`."""


def is_out_of_files(error: object) -> bool:
    """Whether this process, or the machine, has as many files open as it may: that says nothing of the file."""
    return isinstance(error, OSError) and error.errno in (errno.EMFILE, errno.ENFILE)


def require_regular_file(path: str | Path, what: str) -> None:
    """Refuses a path that is not a regular file that can be opened.

    Args:
        path: on this machine.
        what: what the file is, for messages.

    Raises:
        UserError: it is missing, a folder, a pipe or a device, or may not be read.
    """
    if wrong := why_no_access(path):
        raise UserError(f"{shorten(path)}: {wrong.reason}; check the path of this {what}")
