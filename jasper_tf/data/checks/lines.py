"""Checks every line of a manifest: is it an utterance, and can the model learn its text?

After a broken line the next one is read.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.faults import FaultLog, audio_fault
from jasper_tf.data.manifest.filter import UnknownCharacters, ctc_frames_needed, without_unknown
from jasper_tf.data.manifest.line import LONGEST_LINE, LineFileError, read_fields
from jasper_tf.errors import AudioError, UserError
from jasper_tf.io.progress import Progress
from jasper_tf.text.tokenizer import CharacterTokenizer, Tokenizer

ASSUMED_RATE_HZ = 16000
"""Of a model that is not known."""
ASSUMED_FRAME_S = 0.02
"""Seconds of an encoder frame of a model that is not known: that of the published Jasper and QuartzNet."""


@dataclass(frozen=True)
class TextRules:
    """What a model requires of a text.

    Args:
        tokenizer: of the model.
        output_frames: seconds of audio [utterances] -> encoder frames T' [utterances].
        unknown_characters: as in `select`; under "remove_character" characters outside labels are no fault.
    """

    tokenizer: Tokenizer
    output_frames: Callable[[np.ndarray], np.ndarray]
    unknown_characters: UnknownCharacters = "error"


def assumed_rules(labels: Iterable[str]) -> TextRules:
    """Rules where only the labels of the model are known: frames of `ASSUMED_FRAME_S`."""
    return TextRules(
        CharacterTokenizer(list(labels)), lambda duration_s: np.ceil(duration_s / ASSUMED_FRAME_S).astype(int)
    )


def check_lines(
    manifest: CheckedManifest, log: FaultLog, rules: TextRules | None = None, progress: Progress | None = None
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
    for number, reason in manifest.file.absent:
        log.add(manifest.path, number, "missing", reason)
    manifest.lines += len(manifest.file.absent)
    for number, position, line in manifest.file.lines():
        try:
            fields = read_fields(line, manifest.file.folder)
        except UserError as error:
            if len(line) > LONGEST_LINE:
                raise UserError(f"{manifest.path}:{number}: {error}") from None
            manifest.lines += 1
            log.add(manifest.path, number, _line_fault(error), str(error))
        else:
            if fields is not None:
                manifest.lines += 1
                _take(manifest, log, rules, number, position, *fields)
        if progress:
            progress.advance(len(line))
    if not manifest.lines:
        raise UserError(f"{manifest.path}: the manifest holds no utterance; write one JSON object per line")


def _line_fault(error: UserError) -> str:
    if isinstance(error, LineFileError):
        return error.kind
    # The duration of a line without one is read from the audio file.
    return audio_fault(error) if isinstance(error, AudioError) else "broken line"


def _take(
    manifest: CheckedManifest,
    log: FaultLog,
    rules: TextRules | None,
    number: int,
    position: int,
    entry: dict[str, Any],
    path: str,
    offset_s: float,
    duration_s: float,
    text: str,
) -> None:
    manifest.start.append(position)
    manifest.line.append(number)
    manifest.duration_s.append(duration_s)
    manifest.characters.append(len(text) if text.strip() else 0)
    manifest.alphabet.update(text)
    part = f"{os.path.normpath(path)}\0{offset_s}\0{duration_s}\0{entry.get('record')}"
    digest = hashlib.blake2b(part.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    manifest.part.append(int.from_bytes(digest, "little"))
    manifest.has_offset.append("offset" in entry)
    manifest.file_hash.append(hash(path))
    names = (entry["audio_filepath"], entry.get("text_filepath") if entry.get("text") is None else None)
    manifest.relative |= not manifest.tarred and any(
        name and name[0] not in "/~" and "://" not in name for name in names
    )

    def fault(kind: str, detail: str) -> None:
        log.add(manifest.path, number, kind, detail, duration_s)

    if not text.strip():
        fault("empty text", f"text is {text!r}; write the transcript, or remove the line")
        return
    unknown = dict.fromkeys(rules.tokenizer.out_of_vocabulary(text)) if rules else None
    if unknown and rules and rules.unknown_characters != "remove_character":
        named = ", ".join(f"{character!r} U+{ord(character):04X}" for character in list(unknown)[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""
        fault("characters outside labels", f"{named}{more} in {_shortened(text)!r}; see unknown_characters")


def check_feasible(manifest: CheckedManifest, log: FaultLog, rules: TextRules) -> None:
    """Logs the texts that CTC cannot align, by the declared duration; characters outside labels do not count."""
    frames = rules.output_frames(np.array(manifest.duration_s))
    bound = rules.tokenizer.label_len_bound(np.array(manifest.characters))
    # A blank between each two labels is the most that a text can need.
    doubtful = np.arange(len(frames)) if bound is None else np.flatnonzero(frames < 2 * bound - 1)
    for i, utterance in zip(doubtful, manifest.utterances(doubtful), strict=True):
        text = without_unknown(utterance.text, rules.tokenizer)
        needed = ctc_frames_needed(rules.tokenizer.encode(text))
        if frames[i] < needed:
            detail = f"{utterance.duration_s:g} s give {frames[i]} frames, its text needs {needed}"
            log.add(manifest.path, manifest.line[i], "infeasible for CTC", detail, utterance.duration_s)


def _shortened(text: str) -> str:
    return text if len(text) <= 60 else text[:57] + "..."
