"""The exceptions that a user's mistake raises, and text that is safe to print."""

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

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
"""C0 and C1, line and paragraph separators, directional overrides, and surrogates, which no encoding can write."""

_PASSWORD = re.compile(r"(\b\w+://)[^/\s@]+:[^/\s@]*@")
_QUERY = re.compile(r"(\b\w+://[^\s?]+)\?[^\s?]*=[^\s;,)]*")

_LONGEST = 1000
"""Characters of a message."""

_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def printable(text: str) -> str:
    r"""`text` as one line that steers no terminal: controls become \n, \r, \t or \uXXXX, as in JSON."""
    return _CONTROL.sub(lambda found: _SHORT.get(found[0], f"\\u{ord(found[0]):04x}"), text)


def hide_secrets(text: str) -> str:
    """`text` with *** in place of user and password in a URL, and of a query with values, which may be signed."""
    return _QUERY.sub(r"\1?***", _PASSWORD.sub(r"\1***@", text))


def shorten(value: object, most: int = 300) -> str:
    """`str(value)` for a message: cut in the middle above `most` characters."""
    text, kept = str(value), (most - 3) // 2
    return text if len(text) <= most else f"{text[:kept]}...{text[-kept:]}"


def one_line(text: BaseException | str, most: int = 200) -> str:
    """A text, or that of a library's error, as part of a message: the class of an error that has none."""
    line = shorten(" ".join(str(text).split()), most)
    return line or (type(text).__name__ if isinstance(text, BaseException) else "")


class UserError(ValueError):
    """Something the user gave is wrong: a file, a key, a value.

    The message is one line that names the place (file, line or key), says what is wrong and what to do.
    Command lines print it as `error: ...` and leave with `exit_status`, without a traceback. Whatever text the message
    is made of (a path, a server's reply), its control characters are escaped, passwords in URLs are hidden, and of a
    very long one the middle is left out.
    """

    exit_status = 2

    def __init__(self, message: object = ""):
        super().__init__(shorten(printable(hide_secrets(str(message))), _LONGEST))


class AudioError(UserError):
    """A recording that cannot be used; the message is `path: detail` in one line.

    Args:
        path: the file.
        kind: what is wrong, for programs.
        detail: what is wrong and what to do, for people.
    """

    def __init__(self, path: str, kind: AudioErrorKind, detail: str):
        super().__init__(f"{path}: {detail}")
        self.path = path
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple:
        return type(self), (self.path, self.kind, self.detail)


class DataError(UserError):
    """Data that cannot be used: recordings that cannot be read, or a manifest that changed while it was read."""

    exit_status = 1


class DivergedError(UserError):
    """The loss of a training is no longer a finite number; in a search it ends the trial, not the search.

    The command was right, and what came out of the data was not: as with `DataError` the exit status is 1.
    """

    exit_status = 1
