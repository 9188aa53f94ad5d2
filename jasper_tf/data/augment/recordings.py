"""Recordings of noise or impulse responses, listed in manifests."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np

from jasper_tf.audio.load import audio_duration_s, load_audio
from jasper_tf.data.manifest.columns import manifest_paths
from jasper_tf.data.manifest.line import read_object, read_part_of_file
from jasper_tf.data.manifest.manifest_file import ManifestFile
from jasper_tf.errors import UserError

_CACHED = 64


@dataclass(frozen=True)
class Excerpt:
    """A part of an audio file; `duration_s` None: to its end."""

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
        self.entries: list[Excerpt] = []
        for manifest in manifest_paths(paths):
            before = len(self.entries)
            try:
                file = ManifestFile(manifest)
            except UserError as error:
                raise UserError(f"{key}.manifest_path: {error}") from None
            for number, _, line in file.lines():
                try:
                    self._add(line, file.folder)
                except UserError as error:
                    raise UserError(f"{key}.manifest_path: {manifest}:{number}: {error}") from None
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

    def _add(self, line: bytes, folder: str) -> None:
        entry = read_object(line)
        if entry is None:
            return
        path, offset_s, duration_s = read_part_of_file(entry, folder)
        if entry.get("record") is not None:
            raise UserError("the recording is in a shard; name a manifest of audio files")
        self.entries.append(Excerpt(path, offset_s, duration_s or None))

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
