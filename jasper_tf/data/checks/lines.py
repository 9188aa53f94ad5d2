"""Every line of a manifest: is it an utterance, and can the model learn its text?

A line that is broken never ends the reading: the next one is looked at.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from array import array
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import IO

import numpy as np

from jasper_tf.data.checks.faults import FaultLog
from jasper_tf.data.manifest.columns import Utterance, parse_line
from jasper_tf.data.manifest.filter import UnknownCharacters, ctc_frames_needed
from jasper_tf.data.manifest.line import LONGEST_LINE, LineFileError, read_fields, read_lines
from jasper_tf.data.storage.shard_index import resolve_shards
from jasper_tf.data.storage.tarred import TarIndex, write_tarred_manifest
from jasper_tf.errors import AudioError, AudioErrorKind, UserError
from jasper_tf.io.bounded_file import require_regular_file
from jasper_tf.io.progress import ProgressLine
from jasper_tf.io.remote import is_remote
from jasper_tf.text.tokenizer import Tokenizer

_FAULT_OF_KIND: dict[AudioErrorKind, str] = {
    "missing": "missing",
    "cut": "truncated",
    "values": "not finite",
    "outside": "wrong duration",
    "longer": "wrong duration",
    "too_long": "too long",
    "channel": "no such channel",
}


def audio_fault(error: UserError) -> str:
    """The kind of fault behind an error of a recording."""
    return _FAULT_OF_KIND.get(error.kind, "unreadable") if isinstance(error, AudioError) else "unreadable"


@dataclass(frozen=True)
class TextRules:
    """What a model asks of a text.

    Args:
        tokenizer: of the model.
        output_frames: seconds of audio [N] -> encoder frames T' [N].
        unknown_characters: as in `select`; under "remove_character" characters outside labels are no fault.
    """

    tokenizer: Tokenizer
    output_frames: Callable[[np.ndarray], np.ndarray]
    unknown_characters: UnknownCharacters = "error"


class CheckedManifest:
    """One manifest's utterances as columns, 32 bytes each; the lines are read again when they are asked for.

    Args:
        path: a manifest on this machine, or a folder of shards.
        tars: the tar files that hold the recordings (NeMo's `is_tarred`).

    Attributes:
        path: of the manifest.
        absent: a line for each recording that is in no tar file.
        start: [N] first byte of each line.
        line: [N] its number, from 1.
        duration_s: [N] declared, or the header's.
        characters: [N] length of the text, 0 when it holds nothing but spaces.
        part: [N] uint64, equal for the same stretch of the same file.
        relative: whether a line names a file relative to the manifest's folder.
        lines: how many lines are not blank.
    """

    def __init__(self, path: str, tars: TarIndex | None = None):
        self.path = path = resolve_shards(path)
        if is_remote(path):
            raise UserError(f"{path}: manifests on this machine are checked; copy it here")
        self.folder = os.path.dirname(os.path.abspath(path))
        self.absent: list[str] = []
        self._local = path
        self.start, self.line, self.duration_s = array("q"), array("i"), array("d")
        self.characters, self.part = array("i"), array("Q")
        self.relative, self.lines = False, 0
        require_regular_file(path, "manifest")
        try:
            with open(path, "rb") as file:
                stat = os.fstat(file.fileno())
        except OSError as error:
            raise UserError(f"{path}: the manifest cannot be read ({error.strerror}); check the path") from None
        self.size, self._changed_ns = stat.st_size, stat.st_mtime_ns
        self.tarred = tars is not None
        if tars is not None:
            # The same lines with the place of each recording in the tar files; blank where it is in none.
            self._placed = tempfile.NamedTemporaryFile()
            self._local = self._placed.name
            self.absent = write_tarred_manifest(path, tars, self._local)

    def open(self) -> IO[bytes]:
        """The lines as they are parsed: the manifest itself, but for recordings in tar files."""
        return open(self._local, "rb")

    def __len__(self) -> int:
        return len(self.start)

    def refuse_changed(self) -> None:
        """
        Raises:
            UserError: the manifest was changed since the check began.
        """
        try:
            stat = os.stat(self.path)
            same = (stat.st_size, stat.st_mtime_ns) == (self.size, self._changed_ns)
        except OSError:
            same = False
        if not same:
            raise UserError(f"{self.path}: the manifest was changed while it was checked; start again")

    def utterances(self, index: np.ndarray | None = None) -> Iterator[tuple[Utterance, bool]]:
        """The utterances at `index` (default: all), and whether each names an offset."""
        self.refuse_changed()
        with self.open() as file:
            for i in range(len(self)) if index is None else index:
                file.seek(self.start[i])
                line = file.readline()
                source = f"{self.path}:{self.line[i]}"
                found = parse_line(line, self.folder, source, duration_s=self.duration_s[i], files_exist=True)
                assert found is not None
                yield found, b'"offset"' in line


def check_lines(
    manifest: CheckedManifest, log: FaultLog, rules: TextRules | None = None, progress: ProgressLine | None = None
) -> None:
    """Reads every line: fills the columns of `manifest` and logs broken lines, missing files and unfit texts.

    Args:
        manifest: just opened.
        log: takes the faults.
        rules: the model's. Default: only empty texts are found.
        progress: counts bytes.

    Raises:
        UserError: every line is blank.
    """
    for absent in manifest.absent:
        at, _, reason = absent.removeprefix(f"{manifest.path}:").partition(": ")
        log.add(manifest.path, int(at), "missing", reason)
    manifest.lines += len(manifest.absent)
    with manifest.open() as file:
        position = 0
        for number, line in enumerate(read_lines(file), start=1):
            try:
                fields = read_fields(line, manifest.folder)
            except UserError as error:
                if len(line) > LONGEST_LINE:
                    raise UserError(f"{manifest.path}:{number}: {error}") from None
                manifest.lines += 1
                log.add(manifest.path, number, _line_fault(error), str(error))
            else:
                if fields is not None:
                    manifest.lines += 1
                    _take(manifest, log, rules, number, position, *fields)
            position += len(line)
            if progress:
                progress.advance(len(line))
    if not manifest.lines:
        raise UserError(f"{manifest.path}: the manifest holds no utterance; write one JSON object per line")


def _line_fault(error: UserError) -> str:
    if isinstance(error, LineFileError):
        return error.kind
    # Of a line without a duration: the sound file was asked for it.
    return audio_fault(error) if isinstance(error, AudioError) else "broken line"


def _take(
    manifest: CheckedManifest,
    log: FaultLog,
    rules: TextRules | None,
    number: int,
    position: int,
    entry: dict,
    path: str,
    offset_s: float,
    duration_s: float,
    text: str,
) -> None:
    manifest.start.append(position)
    manifest.line.append(number)
    manifest.duration_s.append(duration_s)
    manifest.characters.append(len(text) if text.strip() else 0)
    part = f"{os.path.normpath(path)}\0{offset_s}\0{duration_s}\0{entry.get('record')}"
    digest = hashlib.blake2b(part.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    manifest.part.append(int.from_bytes(digest, "little"))
    names = (entry["audio_filepath"], entry.get("text_filepath") if entry.get("text") is None else None)
    manifest.relative |= not manifest.tarred and any(
        name and name[0] not in "/~" and "://" not in name for name in names
    )

    def fault(kind: str, detail: str) -> None:
        log.add(manifest.path, number, kind, detail, duration_s)

    if not text.strip():
        fault("empty text", f"text is {text!r}; write what is said, or remove the line")
        return
    unknown = dict.fromkeys(rules.tokenizer.out_of_vocabulary(text)) if rules else None
    if unknown and rules and rules.unknown_characters != "remove_character":
        named = ", ".join(f"{character!r} U+{ord(character):04X}" for character in list(unknown)[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        fault("characters outside labels", f"{named}{more} in {_shortened(text)!r}; see unknown_characters")


def check_feasible(manifest: CheckedManifest, log: FaultLog, rules: TextRules) -> None:
    """Logs the texts that CTC cannot align, by the declared duration; characters outside labels do not count."""
    frames = rules.output_frames(np.array(manifest.duration_s))
    # A blank between each two labels is the most that a text can need.
    doubtful = np.flatnonzero(frames < 2 * rules.tokenizer.label_len_bound(np.array(manifest.characters)) - 1)
    for i, (utterance, _) in zip(doubtful, manifest.utterances(doubtful), strict=True):
        unknown = set(rules.tokenizer.out_of_vocabulary(utterance.text))
        text = utterance.text
        if unknown:
            text = " ".join("".join(character for character in text if character not in unknown).split())
        needed = ctc_frames_needed(rules.tokenizer.encode(text))
        if frames[i] < needed:
            detail = f"{utterance.duration_s:g} s give {frames[i]} frames, its text needs {needed}"
            log.add(manifest.path, manifest.line[i], "infeasible for CTC", detail, utterance.duration_s)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
