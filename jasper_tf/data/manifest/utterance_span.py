"""Consecutive utterances of one manifest, as another process reads them again."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.manifest.manifest_file import ManifestFile
from jasper_tf.errors import DataError


@dataclass(frozen=True)
class UtteranceSpan:
    """Some utterances of a manifest: 20 bytes each, picklable; iterating reads their lines.

    Args:
        path: of the manifest.
        size: of the manifest, bytes.
        line: [utterances] numbers of their lines.
        start: [utterances] first byte of each line.
        end: a byte after the last line.
        duration_s: [utterances] what the first reading gave.
    """

    path: str
    size: int
    line: np.ndarray
    start: np.ndarray
    end: int
    duration_s: np.ndarray

    def __len__(self) -> int:
        return len(self.line)

    def __iter__(self) -> Iterator[Utterance]:
        file = _opened(self.path, self.size)
        if file.size != self.size:
            raise DataError(f"{self.path}: the manifest was changed while it was read; start again")
        file.require_unchanged()
        ends = np.append(self.start[1:], self.end)
        for line, start, end, duration_s in zip(self.line, self.start, ends, self.duration_s, strict=True):
            yield file.utterance(int(line), int(start), int(end), float(duration_s))


@functools.lru_cache(4)
def _opened(path: str, size: int) -> ManifestFile:
    """A manifest that a worker keeps open: it reads many parts of few manifests. Of another size it is another one."""
    return ManifestFile(path)
