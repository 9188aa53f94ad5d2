"""Local copy of a folder in object storage, whose changes are uploaded in a safe order."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from jasper_tf.errors import UserError
from jasper_tf.io.object_storage import download_folder, list_remote, remove_remote, upload
from jasper_tf.io.remote import is_remote, remote_name

_Version = tuple[int, int]
_GONE = (-1, -1)


class WorkingCopy:
    """A temporary folder that mirrors a folder in object storage.

    One file appears there complete or not at all, several do not: a folder that holds the file `marker` is complete
    only with it. It is uploaded after and removed before all others, and a folder of `guarded` without it is not read.

    Args:
        url: of the folder; it need not exist.
        marker: name of the file that completes a folder.
        guarded: the folder whose subfolders are complete only with `marker`.

    Raises:
        StorageError: from every method; the storage cannot be read or written.
    """

    def __init__(self, url: str, marker: str, guarded: str):
        self.url = url.rstrip("/")
        self._marker = marker
        self._guarded = guarded
        self._folder = tempfile.TemporaryDirectory(prefix="jasper-tf-", ignore_cleanup_errors=True)
        self.path = Path(self._folder.name, os.path.basename(self.url))
        self._known: dict[str, _Version] = {}

    def download(self) -> None:
        """Copies what is complete to this machine, in place of an earlier copy."""
        shutil.rmtree(self.path, ignore_errors=True)
        names = list_remote(self.url)
        complete = [name for name in names if self._is_complete(name, names)]
        download_folder(self.url, self.path, complete)
        # What a killed process left behind is on no machine, so the next upload removes it.
        self._known = {name: _GONE for name in names} | {name: _version(self.path / name) for name in complete}

    def upload(self) -> None:
        """Makes the folder in object storage equal to this one; hidden files and locks stay here."""
        now = {name: _version(self.path / name) for name in self._names()}
        changed = [name for name, version in now.items() if self._known.get(name) != version]
        for name in sorted(changed, key=self._order):
            upload(self.path / name, remote_name(self.url, name))
            self._known[name] = now[name]
        for name in sorted(self._known.keys() - now.keys(), key=self._order, reverse=True):
            remove_remote(remote_name(self.url, name))
            del self._known[name]

    def close(self) -> None:
        """Removes the local files."""
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _names(self) -> Iterable[str]:
        for folder, folders, files in os.walk(self.path):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                if not name.startswith(".") and not name.endswith(".lock"):
                    yield os.path.relpath(os.path.join(folder, name), self.path)

    def _order(self, name: str) -> tuple[bool, bool, str]:
        return name.startswith(f"{self._guarded}/"), os.path.basename(name) == self._marker, name

    def _is_complete(self, name: str, names: Iterable[str]) -> bool:
        parts = name.split("/")
        return parts[0] != self._guarded or f"{self._guarded}/{parts[1]}/{self._marker}" in names


@contextmanager
def output_folder(path: str, last: str, overwrite: bool = False) -> Iterator[Path]:
    """Yields a folder to write an export into: `path` itself, or where that is in object storage a temporary one.

    Its files are uploaded when the block ends without an error. Numbered versions that are there already are there
    as empty folders.

    Args:
        path: of the export.
        last: name of the file that programs look for, uploaded after all others.
        overwrite: whether the file `last` may be there already.

    Raises:
        UserError: the file `last` is there and `overwrite` is false; the storage cannot be read or written.
    """
    if not is_remote(path):
        yield Path(path)
        return
    there = list_remote(path)
    if last in there and not overwrite:
        raise UserError(f"{path}: holds an export already; name another folder, or replace it with --overwrite")
    with tempfile.TemporaryDirectory(prefix="jasper-tf-") as temporary:
        folder = Path(temporary, os.path.basename(path.rstrip("/")))
        folder.mkdir()
        for version in {name.split("/")[0] for name in there}:
            if version.isdecimal():
                (folder / version).mkdir()
        yield folder
        files = [file for file in folder.rglob("*") if file.is_file()]
        for file in sorted(files, key=lambda file: (file.name == last, file)):
            upload(file, remote_name(path, file.relative_to(folder).as_posix()))


def _version(file: Path) -> _Version:
    found = file.stat()
    return found.st_size, found.st_mtime_ns
