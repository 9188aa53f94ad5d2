"""The kinds of faults, and a log that counts them."""

from __future__ import annotations

import json
from array import array
from collections.abc import Collection
from dataclasses import dataclass
from typing import IO

import numpy as np

from jasper_tf.errors import AudioError, AudioErrorKind, UserError

KINDS = {
    "broken line": "the line is not an utterance",
    "missing": "the audio or text file does not exist",
    "unreadable": "the audio file cannot be decoded",
    "truncated": "the audio file ends before its header says",
    "not finite": "samples are NaN or infinite",
    "silent": "no stretch of it is louder than --silence",
    "clipped": "more than --max-clipped of the samples are at full scale, three or more in a row",
    "wrong duration": "declared and real length differ by more than --tolerance",
    "too long": "the part is longer than is read in one piece",
    "no such channel": "the file lacks the channel of channel_selector",
    "empty text": "the text holds nothing but spaces",
    "characters outside labels": "the model cannot write them",
    "infeasible for CTC": "the encoder gives fewer frames than the text needs",
    "speaking rate": "characters per second out of range",
    "duplicate": "the same audio as an earlier line",
    "leak": "a training line that is in the validation or test set as well",
    "wrong rate": "not the model's sample rate: resampled on the way",
}
"""Every kind with its meaning, in the order of the report."""

NOTES = frozenset({"wrong rate"})
"""Kinds that are reported but are not faults: training handles them."""

_BIT = {kind: 1 << i for i, kind in enumerate(KINDS)}


_AUDIO_FAULTS: dict[AudioErrorKind, str] = {
    "missing": "missing",
    "cut": "truncated",
    "values": "not finite",
    "outside": "wrong duration",
    "longer": "wrong duration",
    "too_long": "too long",
    "channel": "no such channel",
}


def audio_fault(error: UserError) -> str:
    """The kind of fault for an error of a recording."""
    return _AUDIO_FAULTS.get(error.kind, "unreadable") if isinstance(error, AudioError) else "unreadable"


@dataclass
class Tally:
    """The faults of one kind: how many, their hours where a length is known, and the first one."""

    count: int = 0
    duration_s: float = 0.0
    example: str = ""


class FaultLog:
    """Counts faults by kind and remembers which lines have which: 4 bytes a line, however many faults there are.

    Args:
        listed: receives one JSON object per fault and line: manifest, line, kind, detail. Default: nothing is written.
        notes: kinds that are no faults. Default: `NOTES`.
    """

    def __init__(self, listed: IO[str] | None = None, notes: Collection[str] = NOTES):
        self.tallies: dict[str, Tally] = {}
        self.notes = frozenset(notes)
        self._listed = listed
        self._kinds_of: dict[str, array] = {}
        self._fault_bits = sum(bit for kind, bit in _BIT.items() if kind not in self.notes)

    def add(self, manifest: str, line: int, kind: str, detail: str, duration_s: float = 0.0) -> None:
        """Takes one fault of line number `line`; a kind that the line has already is not counted again."""
        kinds = self._kinds_of.setdefault(manifest, array("I"))
        if len(kinds) <= line:
            kinds.frombytes(bytes(kinds.itemsize * (max(line + 1, len(kinds) * 5 // 4) - len(kinds))))
        if kinds[line] & _BIT[kind]:
            return
        kinds[line] |= _BIT[kind]
        tally = self.tallies.setdefault(kind, Tally(example=f"{manifest}:{line}: {detail}"))
        tally.count += 1
        tally.duration_s += duration_s
        if self._listed:
            found = {"manifest": manifest, "line": line, "kind": kind, "detail": detail}
            self._listed.write(json.dumps(found, ensure_ascii=False) + "\n")

    def is_faulty(self, manifest: str, line: int) -> bool:
        """Whether the line has a fault that is not among the notes."""
        kinds = self._kinds_of.get(manifest)
        return kinds is not None and line < len(kinds) and bool(kinds[line] & self._fault_bits)

    def has(self, manifest: str, line: int, kind: str) -> bool:
        """Whether the line has a fault of this kind."""
        kinds = self._kinds_of.get(manifest)
        return kinds is not None and line < len(kinds) and bool(kinds[line] & _BIT[kind])

    @property
    def found(self) -> bool:
        """Whether there is any fault that is not among the notes."""
        return any(kind not in self.notes for kind in self.tallies)

    def count_faulty(self, manifest: str) -> int:
        """How many lines of `manifest` have a fault that is not among the notes."""
        kinds = self._kinds_of.get(manifest)
        return 0 if kinds is None else int(np.count_nonzero(np.array(kinds) & self._fault_bits))
