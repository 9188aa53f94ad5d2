"""Files that are complete or not there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from jasper_tf.errors import UserError


@contextmanager
def write_whole(path: str | Path, binary: bool = False) -> Iterator[IO[Any]]:
    """Opens a file (UTF-8 text, or bytes) beside `path` and renames it to `path` when the block ends without an error.

    Raises:
        UserError: the folder does not exist or cannot be written to.
    """
    path = Path(path)
    beside = path.with_name(f".{path.name}.{os.getpid()}.writing")
    if path.is_dir():
        raise UserError(f"{path}: is a folder, give the name of a file")
    try:
        file = open(beside, "wb") if binary else open(beside, "w", encoding="utf-8")
    except OSError as error:
        raise UserError(f"{path}: cannot write: {error.strerror}; name a folder that exists") from None
    try:
        with file:
            yield file
        os.replace(beside, path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
