"""A manifest opened for reading, wherever it and its recordings are stored."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from typing import IO

from jasper_tf.data.manifest.line import LONGEST_LINE, Utterance, parse_line, read_lines
from jasper_tf.data.manifest.tarred import write_places
from jasper_tf.data.storage.shard_index import resolve_shards
from jasper_tf.data.storage.tar_index import TarIndex
from jasper_tf.errors import DataError, UserError
from jasper_tf.io.file_access import require_regular_file
from jasper_tf.io.object_storage import download
from jasper_tf.io.remote import is_remote


class ManifestFile:
    """The lines of one manifest. It stays open: another one renamed into its place changes nothing here.

    Args:
        path: JSON lines, in object storage too (gs://); or a folder of shards, or its index.json.
        tars: the tar files that hold the recordings (NeMo's `is_tarred`): each line is read with its recording's place
            there, and as a blank one where that is in none of them.
        texts: as of `parse_line`.

    Attributes:
        path: of the manifest.
        folder: where relative paths in its lines begin.
        local: a file on this machine with the lines as they are read.
        size: bytes of `local`.
        absent: (line, reason) of each recording that is in no tar file.

    Raises:
        UserError: the manifest is missing or cannot be read, shards are not complete, or none of the recordings is in
            the tar files.
    """

    def __init__(self, path: str | os.PathLike, tars: TarIndex | None = None, texts: bool = True):
        self.path = path = resolve_shards(os.fspath(path))
        self.absent: list[tuple[int, str]] = []
        self.texts = texts
        if is_remote(path):
            self.folder = path.rpartition("/")[0]
            self._file = _download(path)
            self._original = self._file.name
        else:
            require_regular_file(path, "manifest")
            self.folder = os.path.dirname(os.path.abspath(path))
            self._file = open(path, "rb")
            self._original = path
        self.local, self._opened = self._original, os.fstat(self._file.fileno())
        if tars is not None:
            self._placed = tempfile.NamedTemporaryFile()
            self.absent = write_places(path, self.lines(), tars, self._placed)
            self.local = self._placed.name
        self.size = os.stat(self.local).st_size

    def lines(self, as_written: bool = False) -> Iterator[tuple[int, int, bytes]]:
        """Number, first byte and bytes of each line; see `read_lines`.

        Args:
            as_written: the manifest's own lines, also where the recordings are in tar files.
        """
        with open(self._original if as_written else self.local, "rb") as file:
            yield from read_lines(file)

    def identity(self) -> tuple[str, int, int]:
        """Path, bytes and time of the last change (0 of a remote one): other ones are another manifest."""
        return self.path, self._opened.st_size, self._opened.st_mtime_ns if self._original == self.path else 0

    def utterance(self, number: int, start: int, end: int, duration_s: float) -> Utterance:
        """The utterance of a line that was read before.

        Args:
            number: of the line.
            start: its first byte.
            end: a byte after it, at most where the next utterance begins.
            duration_s: what the first reading gave.

        Raises:
            UserError: the manifest was changed since.
        """
        file = self._file if self.local == self._original else self._placed
        if os.fstat(self._file.fileno()).st_mtime_ns != self._opened.st_mtime_ns:
            raise self._changed()
        # Blank or broken lines may follow; the utterance's own ends at the first line end.
        line = os.pread(file.fileno(), min(end - start, LONGEST_LINE), start).split(b"\n", 1)[0]
        source = f"{self.path}:{number}"
        try:
            found = parse_line(line, self.folder, source, duration_s=duration_s, files_exist=True, texts=self.texts)
        except UserError as error:
            raise UserError(f"{source}: {error}") from None
        assert found is not None
        return found

    def require_unchanged(self) -> None:
        """Refuses a manifest that was replaced or written to since it was opened.

        Raises:
            UserError: it was.
        """
        try:
            now = os.stat(self._original)
        except OSError:
            raise self._changed() from None
        if (now.st_ino, now.st_mtime_ns, now.st_size) != tuple(
            getattr(self._opened, name) for name in ("st_ino", "st_mtime_ns", "st_size")
        ):
            raise self._changed()

    def _changed(self) -> UserError:
        return DataError(f"{self.path}: the manifest was changed while it was read; start again")


def _download(path: str) -> IO[bytes]:
    file = tempfile.NamedTemporaryFile()
    download(path, file.name)
    return file
