"""Reads manifests: one JSON object per utterance and line, any number of lines."""

from __future__ import annotations

import operator
import os
from collections.abc import Sequence
from typing import overload

import numpy as np

from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.manifest.manifest_file import ManifestFile
from jasper_tf.data.manifest.scan import ManifestScan, scan_file
from jasper_tf.data.manifest.utterance_span import UtteranceSpan
from jasper_tf.data.storage.tar_index import TarIndex
from jasper_tf.errors import UserError


class Manifest(Sequence[Utterance]):
    """The utterances of one or more manifests, in the order of the lines, file after file; see `read_manifest`.

    Memory holds 25 bytes for each; the line itself is read again when an utterance is asked for.

    Attributes:
        duration_s: [utterances] float64 seconds.
        characters: [utterances] int32 length of the text.
        alphabet: every character of the texts.
        first: [files + 1] the number of the first utterance of each file, and N.
        absent: a message for each one whose recording is in no tar file.
    """

    def __init__(self, files: Sequence[ManifestFile], scans: Sequence[ManifestScan]):
        self._files = list(files)
        self.first = np.cumsum([0] + [len(scan.start) for scan in scans])
        self._start = np.concatenate([scan.start for scan in scans])
        self._line = np.concatenate([scan.line for scan in scans])
        self.duration_s = np.concatenate([scan.duration_s for scan in scans])
        self.characters = np.concatenate([scan.characters for scan in scans])
        self.alphabet = frozenset("".join(scan.alphabet for scan in scans))
        self.absent = [f"{file.path}:{line}: {reason}" for file in files for line, reason in file.absent]

    def __len__(self) -> int:
        return len(self._start)

    def spans(self, first: int, end: int) -> list[UtteranceSpan]:
        """The utterances from `first` to before `end`, by file, for another process."""
        found = []
        for k, file in enumerate(self._files):
            part = slice(max(first, int(self.first[k])), min(end, int(self.first[k + 1])))
            if part.start < part.stop:
                last = int(self._start[part.stop]) if part.stop < self.first[k + 1] else file.size
                columns = self._line[part], self._start[part], self.duration_s[part]
                line, start, duration_s = (column.copy() for column in columns)
                found.append(UtteranceSpan(file.path, file.size, line, start, last, duration_s))
        return found

    @overload
    def __getitem__(self, i: int) -> Utterance: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Utterance]: ...
    def __getitem__(self, i):
        """The utterance at `i`, or those of a slice, read from the manifest again.

        Raises:
            UserError: the manifest was changed since it was opened.
        """
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        i = range(len(self))[operator.index(i)]
        number = int(np.searchsorted(self.first, i, "right")) - 1
        file = self._files[number]
        end = int(self._start[i + 1]) if i + 1 < self.first[number + 1] else file.size
        return file.utterance(int(self._line[i]), int(self._start[i]), end, float(self.duration_s[i]))


def columns(utterances: Sequence[Utterance]) -> tuple[np.ndarray, np.ndarray, frozenset[str]]:
    """The columns of a manifest or a list of utterances.

    Returns:
        duration_s [utterances] float64, lengths of the texts [utterances] int32, every character of the texts.
    """
    if isinstance(utterances, Manifest):
        return utterances.duration_s, utterances.characters, utterances.alphabet
    duration_s = np.array([utterance.duration_s for utterance in utterances], np.float64)
    characters = np.array([len(utterance.text) for utterance in utterances], np.int32)
    return duration_s, characters, frozenset().union(*(utterance.text for utterance in utterances))


def manifest_paths(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> list[str]:
    """One path, several separated by commas (as in NeMo), or a list of those -> list of paths, `~` expanded.

    Raises:
        UserError: no path is given.
    """
    entries = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    parts = [part.strip() for entry in entries for part in os.fspath(entry).split(",")]
    found = [os.path.expanduser(part) for part in parts if part]
    if not found:
        raise UserError("manifest_filepath: no manifest is given; name a file of JSON lines")
    return found


def read_manifest(
    paths: str | os.PathLike | Sequence[str | os.PathLike],
    tars: TarIndex | None = None,
    files_exist: bool = False,
    texts: bool = True,
) -> Manifest:
    """Opens manifests in the layout of NeMo: every line is read and checked once.

    Keys of a line: `audio_filepath` (absolute, or relative to the manifest), `duration` in seconds (when missing, read
    from the audio file's header), `text` or `text_filepath` (relative as above; its line ends become spaces), `offset`
    in seconds (default 0), `record` (where in a shard: see `shard`). Other keys go to `Utterance.extra`. A byte order
    mark, CRLF and blank lines are tolerated.

    Args:
        paths: a path, several separated by commas, or a list of paths; in object storage too (gs://).
            A folder of shards or its index.json is taken for its manifest.
        tars: the tar files that hold the recordings (NeMo's `is_tarred`). `Manifest.absent` names the lines whose
            recording they lack.
        files_exist: whether recordings are taken for granted: one that is missing fails when it is loaded. Default: its
            line is broken.
        texts: whether a line without a text is broken. False: its text is empty.

    Raises:
        UserError: a manifest is missing or without a single utterance, or lines are broken: the first one's manifest,
            line and reason, and how many more there are.
    """
    files, scans, broken, broken_lines = [], [], "", 0
    for path in manifest_paths(paths):
        file = ManifestFile(path, tars, texts)
        path = file.path
        scan = scan_file(file.local, file.folder, path, files_exist, texts)
        file.require_unchanged()
        if not len(scan.start) and not scan.broken_lines:
            raise UserError(f"{path}: the manifest holds no utterance; write one JSON object per line")
        if scan.broken and not broken:
            line, reason = scan.broken[0]
            broken = f"{path}:{line}: {reason}"
        broken_lines += scan.broken_lines
        files.append(file)
        scans.append(scan)
    if broken:
        more = broken_lines - 1
        rest = f" (and {more} more broken line{'s' if more > 1 else ''})" if more else ""
        raise UserError(broken + rest)
    return Manifest(files, scans)
