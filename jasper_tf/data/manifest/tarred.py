"""Manifests of NeMo's tarred datasets (`is_tarred: true`): the place of each recording in its tar file."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from typing import IO

from jasper_tf.data.manifest.line import read_object
from jasper_tf.data.storage.tar_index import TarIndex
from jasper_tf.errors import UserError
from jasper_tf.io.remote import is_remote


def write_places(
    manifest: str, lines: Iterable[tuple[int, int, bytes]], tars: TarIndex, output: IO[bytes]
) -> list[tuple[int, str]]:
    """Writes the lines of a tarred manifest with `audio_filepath` the tar file and `record` the bytes there.

    Broken lines stay as they are. A line whose recording is in no tar file becomes blank: the others keep their
    numbers.

    Args:
        manifest: its path; `text_filepath` is relative to its folder.
        lines: as `read_lines` gives them.
        tars: the tar files.
        output: a file to write to.

    Returns:
        (line, reason) of each recording that is in no tar file.

    Raises:
        UserError: none of the recordings is there, or the disk is full.
    """
    absent, found = [], 0
    try:
        for number, _, line in lines:
            entry = _entry(line)
            if entry is None:
                output.write(line)
                continue
            try:
                path, start, size = tars.find(entry["audio_filepath"], entry.get("shard_id"))
            except UserError as error:
                absent.append((number, str(error)))
                output.write(b"\n")
                continue
            found += 1
            if isinstance(text := entry.get("text_filepath"), str):
                entry["text_filepath"] = os.path.join(os.path.dirname(os.path.abspath(manifest)), text)
            full = path if is_remote(path) else os.path.abspath(path)
            entry.update(audio_filepath=full, record=[start, size])
            output.write(json.dumps(entry).encode() + b"\n")
        output.flush()
    except OSError as error:
        raise UserError(f"{manifest}: cannot be copied to the temporary folder ({error.strerror})") from None
    if absent and not found:
        raise UserError(f"{manifest}:{absent[0][0]}: {absent[0][1]} (and so for all {len(absent)} lines)")
    return absent


def _entry(line: bytes) -> dict | None:
    """The object of a line that names a recording; None for one that the manifest's reader refuses."""
    try:
        entry = read_object(line)
    except UserError:
        return None
    if entry is None or not isinstance(entry.get("audio_filepath"), str):
        return None
    return entry if isinstance(entry.get("shard_id"), int | None) else None
