"""Opens files that are plain or packed with gzip, whatever their name."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from jasper_tf.errors import UserError, one_line, shorten


@contextmanager
def open_plain_or_gzip(path: str | Path, what: str) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """Opens a file for reading: yields its content, unpacked, and the file itself, whose position is of packed bytes.

    Args:
        what: what the file is, for messages.

    Raises:
        UserError: it cannot be read, or the gzip file is cut or damaged; while the content is read, too.
    """
    try:
        with open(path, "rb") as raw:
            if raw.peek(2)[:2] != b"\x1f\x8b":
                yield raw, raw
                return
            with gzip.GzipFile(fileobj=raw, mode="rb") as unpacked:
                yield unpacked, raw  # type: ignore[misc]  # GzipFile has what is used of an IO
    except UserError:
        raise
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise UserError(f"{shorten(path)}: cut or damaged gzip file ({one_line(error)}); make it again") from None
    except (OSError, ValueError) as error:
        reason = error.strerror or str(error) if isinstance(error, OSError) else str(error)
        raise UserError(f"{shorten(path)}: cannot read this {what} ({reason})") from None
