"""The exceptions that a user's mistake raises."""

from __future__ import annotations

import re
from typing import Literal

AudioErrorKind = Literal[
    "missing",  # no such file
    "unreadable",  # no permission, a folder, a pipe, a link to itself, a remote file that does not arrive
    "empty",  # no bytes, or no samples in the part that is asked for
    "not_audio",  # cannot be decoded
    "cut",  # ends before its header says
    "longer",  # goes on where its header says that it ends
    "outside",  # the part that is asked for is not in the file
    "too_long",  # more than is read in one piece, or of unknown length
    "channel",  # lacks the channel that is asked for
    "values",  # NaN, infinity, or beyond what any sound has
    "rate",  # a sample rate that no recording of speech has
]


class UserError(ValueError):
    """Something the user gave is wrong: a file, a key, a value.

    The message is one line that names the place (file, line or key), says what is wrong and what to do.
    Command lines print it as `error: ...` and leave with status 2, without a traceback.
    """


class AudioError(UserError):
    """A recording that cannot be used; the message is `path: detail` in one line.

    Args:
        path: the file.
        kind: what is wrong, for programs.
        detail: what is wrong and what to do, for people.
    """

    def __init__(self, path: str, kind: AudioErrorKind, detail: str):
        super().__init__(path, kind, detail)
        self.path = path
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        # The texts of libraries and the names of files may have line ends and other control characters.
        line = f"{self.path}: {self.detail}"
        return re.sub(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]", lambda found: repr(found[0])[1:-1], line)


class DivergedError(UserError):
    """The loss of a training is no longer a finite number; in a search it ends the trial, not the search."""
