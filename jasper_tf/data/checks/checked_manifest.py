"""A manifest whose lines may be broken, with its valid utterances as columns."""

from __future__ import annotations

from array import array
from collections.abc import Iterator

import numpy as np

from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.manifest.manifest_file import ManifestFile
from jasper_tf.data.manifest.utterance_span import UtteranceSpan
from jasper_tf.data.storage.tar_index import TarIndex
from jasper_tf.errors import UserError
from jasper_tf.io.remote import is_remote


class CheckedManifest:
    """One manifest's utterances as columns, 41 bytes each; the lines are read again when they are asked for.

    Args:
        path: a manifest on this machine, or a folder of shards.
        tars: the tar files that hold the recordings (NeMo's `is_tarred`).

    Attributes:
        path: of the manifest.
        start: [utterances] first byte of each line.
        line: [utterances] its number, from 1.
        duration_s: [utterances] declared, or the header's.
        characters: [utterances] length of the text, 0 when it holds nothing but spaces.
        part: [utterances] uint64, equal for the same stretch of the same file.
        file_hash: [utterances] int64, equal for the same path, in this process.
        has_offset: [utterances] whether the line says where in the file the utterance begins.
        alphabet: every character of the texts.
        relative: whether any line names a file relative to the manifest's folder.
        lines: how many lines are not blank.

    Raises:
        UserError: the manifest is remote, missing or unreadable.
    """

    def __init__(self, path: str, tars: TarIndex | None = None):
        if is_remote(path):
            raise UserError(f"{path}: manifests on this machine are checked; copy it here")
        self.file = ManifestFile(path, tars)
        self.path = self.file.path
        self.tarred = tars is not None
        self.start, self.line, self.duration_s = array("q"), array("i"), array("d")
        self.characters, self.part, self.has_offset = array("i"), array("Q"), array("b")
        self.file_hash = array("q")
        self.alphabet: set[str] = set()
        self.relative, self.lines = False, 0

    def __len__(self) -> int:
        return len(self.start)

    def identity(self) -> tuple[str, int, int]:
        """Path, bytes and time of the last change: other ones are another manifest."""
        return self.file.identity()

    def span(self, first: int, end: int) -> UtteranceSpan:
        """The utterances from `first` to before `end`, for another process. Not of recordings in tar files."""
        last = self.start[end] if end < len(self) else self.file.size
        columns = (np.array(column[first:end]) for column in (self.line, self.start, self.duration_s))
        line, start, duration_s = columns
        return UtteranceSpan(self.path, self.file.size, line, start, last, duration_s)

    def utterances(self, index: np.ndarray | None = None) -> Iterator[Utterance]:
        """The utterances at `index`. Default: all.

        Raises:
            UserError: the manifest was changed since it was opened.
        """
        self.file.require_unchanged()
        for i in range(len(self)) if index is None else index:
            end = self.start[i + 1] if i + 1 < len(self) else self.file.size
            yield self.file.utterance(self.line[i], self.start[i], end, self.duration_s[i])
