"""Recordings to mix with: the noises or impulse responses that a manifest lists."""

from __future__ import annotations

import functools
import os
from dataclasses import dataclass
from typing import Any

import numpy as np

from jasper_tf.audio.load import audio_duration_s, load_audio
from jasper_tf.data.manifest.columns import manifest_paths
from jasper_tf.data.manifest.line import LONGEST_S, read_lines, read_object
from jasper_tf.errors import UserError
from jasper_tf.io.bounded_file import require_regular_file
from jasper_tf.io.file_access import why_no_access

_CACHED = 64


@dataclass(frozen=True)
class Recording:
    """A stretch of a sound file; `duration_s` None: to its end."""

    path: str
    offset_s: float
    duration_s: float | None


class Recordings:
    """The recordings of manifests in NeMo's layout: `audio_filepath` (absolute, or relative to the manifest), `offset`
    and `duration` in seconds (optional). Transcripts are not needed; other keys are ignored.

    Args:
        key: what to name in errors: the full name of the perturbation.
        paths: the value of its `manifest_path`: a path, several separated by commas, or a list.
        sample_rate: what to read at, Hz.

    Raises:
        UserError: a manifest or a file that is missing, a broken line. One line that begins with `key`.
    """

    def __init__(self, key: str, paths: str | list[str], sample_rate: int):
        self.key, self.sample_rate = key, sample_rate
        self.entries: list[Recording] = []
        for manifest in manifest_paths(paths):
            before = len(self.entries)
            try:
                require_regular_file(manifest, "manifest")
            except UserError as error:
                raise UserError(f"{key}.manifest_path: {error}") from None
            try:
                with open(manifest, "rb") as file:
                    for number, line in enumerate(read_lines(file), start=1):
                        self._add(line, manifest, number)
            except OSError as error:
                raise UserError(
                    f"{key}.manifest_path: {manifest}: the manifest cannot be read ({error.strerror}); check the path"
                ) from None
            if len(self.entries) == before:
                raise UserError(f"{key}.manifest_path: {manifest}: lists no recording; write one JSON object per line")
        self._cached = functools.lru_cache(_CACHED)(self._read)
        self._length_s = functools.lru_cache(None)(self._measured_s)

    def __len__(self) -> int:
        return len(self.entries)

    def duration_s(self, index: int) -> float:
        """The length of a recording in seconds; read from the file's header, once, where the manifest gives none."""
        return self._length_s(index)

    def whole(self, index: int) -> np.ndarray:
        """audio [S] float32 of a whole recording, not to be changed; the last ones are kept."""
        return self._cached(index, 0.0, None)

    def part(self, index: int, offset_s: float, duration_s: float) -> np.ndarray:
        """audio [S] float32 of a part; only that is read from the file."""
        return self._read(index, offset_s, duration_s)

    def _add(self, line: bytes, manifest: str, number: int) -> None:
        place = f"{self.key}.manifest_path: {manifest}:{number}"
        try:
            entry = read_object(line)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        if entry is None:
            return
        path = entry.get("audio_filepath")
        if not isinstance(path, str) or not path:
            raise UserError(f"{place}: audio_filepath is missing; name the sound file")
        path = os.path.join(os.path.dirname(os.path.abspath(manifest)), os.path.expanduser(path))
        if wrong := why_no_access(path):
            reason = f"no such file {path}" if wrong.kind == "missing" else f"{path} {wrong.reason}"
            raise UserError(f"{place}: audio_filepath: {reason}")
        offset_s, duration_s = (_seconds(entry, name, place) for name in ("offset", "duration"))
        self.entries.append(Recording(path, offset_s or 0.0, duration_s or None))

    def _measured_s(self, index: int) -> float:
        entry = self.entries[index]
        if entry.duration_s is not None:
            return entry.duration_s
        try:
            return audio_duration_s(entry.path) - entry.offset_s
        except UserError as error:
            raise UserError(f"{self.key}: {error}") from None

    def _read(self, index: int, offset_s: float, duration_s: float | None) -> np.ndarray:
        entry = self.entries[index]
        wanted_s = entry.duration_s if duration_s is None else duration_s
        try:
            return load_audio(entry.path, self.sample_rate, entry.offset_s + offset_s, wanted_s)
        except UserError as error:
            raise UserError(f"{self.key}: {error}") from None


def _seconds(entry: dict[str, Any], key: str, place: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_S:
        raise UserError(f"{place}: {key} is {repr(value)[:60]}; it must be a number of seconds, 0 or more")
    return float(value)
