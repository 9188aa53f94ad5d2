"""Why a path cannot be opened as a file."""

from __future__ import annotations

import errno
import os
import stat
from typing import Literal, NamedTuple


class NoAccess(NamedTuple):
    """Args:
    kind: "missing" or "unreadable".
    reason: for people; it follows the path.
    """

    kind: Literal["missing", "unreadable"]
    reason: str


def why_no_access(path: str) -> NoAccess | None:
    """What is wrong with `path`; None if it is a regular file that can be opened."""
    try:
        found = os.stat(path)
        if stat.S_ISREG(found.st_mode):
            with open(path, "rb"):
                return None
    except (FileNotFoundError, NotADirectoryError):
        # A link to nothing is there, its target is not.
        if os.path.islink(path):
            return NoAccess("missing", f"no such file (a link to {os.readlink(path)})")
        return NoAccess("missing", "no such file")
    except OSError as error:
        if error.errno == errno.ELOOP:
            return NoAccess("unreadable", "is a link that leads back to itself")
        return NoAccess("unreadable", f"cannot be read ({(error.strerror or str(error)).lower()})")
    except ValueError as error:  # a NUL in the path
        return NoAccess("unreadable", f"cannot be read ({error})")
    is_folder = stat.S_ISDIR(found.st_mode)
    return NoAccess("unreadable", "is a directory; name a file" if is_folder else "is not a regular file")
