"""Selects the utterances of a manifest that a model can use, and reports the others."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, get_args, overload

import numpy as np

from jasper_tf.data.manifest.columns import columns
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError
from jasper_tf.text.tokenizer import Tokenizer

UnknownCharacters = Literal["error", "drop_utterance", "remove_character"]

_AT_ONCE = 10_000
"""Texts that are encoded together."""
_NAMED = 20
"""Utterances or characters that a message names one by one; `Selection` itself holds all."""


@dataclass
class UnknownCharacter:
    """A character outside `labels`, how often it occurs in the texts, and the first utterance that has it."""

    character: str
    count: int
    example: Utterance

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count} times"
        return (
            f"{self.character!r} U+{ord(self.character):04X} {times}, "
            f"as in {_shortened(self.example.text, self.character)!r} ({self.example.source})"
        )


class Selected(Sequence[Utterance]):
    """Some utterances of a list or manifest, in their order; with a tokenizer, as much of their texts as it can write.

    Attributes:
        positions: [utterances] their positions there.
        duration_s: [utterances] float64 seconds.
        label_len: [utterances] integers, no less than the labels of the text.
    """

    def __init__(
        self,
        utterances: Sequence[Utterance],
        index: np.ndarray,
        duration_s: np.ndarray,
        label_len: np.ndarray,
        tokenizer: Tokenizer | None = None,
    ):
        self._utterances = utterances
        self.positions = index
        self._tokenizer = tokenizer
        self.duration_s = duration_s
        self.label_len = label_len

    def __len__(self) -> int:
        return len(self.positions)

    def part(self, chosen: np.ndarray) -> Selected:
        """Those at the positions `chosen`."""
        positions, duration_s, label_len = self.positions[chosen], self.duration_s[chosen], self.label_len[chosen]
        return Selected(self._utterances, positions, duration_s, label_len, self._tokenizer)

    @overload
    def __getitem__(self, i: int) -> Utterance: ...
    @overload
    def __getitem__(self, i: slice) -> Sequence[Utterance]: ...
    def __getitem__(self, i):
        if isinstance(i, slice):
            return [self[k] for k in range(*i.indices(len(self)))]
        utterance = self._utterances[int(self.positions[i])]
        text = utterance.text if self._tokenizer is None else without_unknown(utterance.text, self._tokenizer)
        return utterance if text == utterance.text else replace(utterance, text=text)


@dataclass
class LeftOut:
    """Utterances that are not used, for one reason; `details` has more about some of them."""

    reason: str
    index: np.ndarray
    hours: float
    details: dict[int, str] = field(default_factory=dict)


@dataclass
class Selection:
    """The utterances kept, in their order, and those left out, by reason."""

    utterances: Selected
    left_out: list[LeftOut]
    source: Sequence[Utterance]
    unknown_characters: list[UnknownCharacter] = field(default_factory=list)
    unknown_setting: UnknownCharacters = "error"

    @property
    def dropped(self) -> list[tuple[Utterance, str]]:
        """Those left out, in their order, with the reason ("category" or "category: detail")."""
        found = [
            (int(i), f"{group.reason}: {group.details[i]}" if i in group.details else group.reason)
            for group in self.left_out
            for i in group.index
        ]
        return [(self.source[i], reason) for i, reason in sorted(found)]

    def summary(self) -> str:
        """Lines of text: utterances and hours kept, those dropped by reason, the characters outside `labels`."""
        total = len(self.utterances) + sum(len(group.index) for group in self.left_out)
        hours = self.utterances.duration_s.sum() / 3600
        lines = [f"kept {len(self.utterances)} of {total} utterances, {hours:.2f} h"]
        for group in self.left_out:
            lines.append(f"dropped {len(group.index)}, {group.hours:.2f} h: {group.reason}")
            for i, detail in itertools.islice(group.details.items(), _NAMED):
                lines.append(f"  {self.source[i].source} {self.source[i].path}: {detail}")
            if len(group.details) > _NAMED:
                lines.append(f"  and {len(group.details) - _NAMED} more")
        if absent := getattr(self.source, "absent", []):
            lines.append(f"dropped {len(absent)}: no recording in the tar files")
            lines += [f"  {line}" for line in absent[:_NAMED]]
            if len(absent) > _NAMED:
                lines.append(f"  and {len(absent) - _NAMED} more")
        if self.unknown_characters:
            done = "their utterances dropped" if self.unknown_setting == "drop_utterance" else "removed"
            lines.append(f"characters outside labels, {done}:")
            lines += [f"  {unknown}" for unknown in self.unknown_characters]
        return "\n".join(lines)


def ctc_frames_needed(labels: np.ndarray) -> int:
    """The fewest encoder frames T' on which CTC can write labels [U]: one each, and a blank between equal neighbors.

    Source: Graves et al. 2006, section 3.1 (the map B merges repeats unless a blank parts them).
    """
    return len(labels) + int(np.count_nonzero(labels[1:] == labels[:-1]))


def without_unknown(text: str, tokenizer: Tokenizer) -> str:
    """`text` without its characters out of vocabulary; doubled spaces that they leave become one."""
    # What is left can be out of vocabulary where it was not before: WordPiece has other pieces for a word's beginning.
    while unknown := frozenset(tokenizer.out_of_vocabulary(text)):
        text = " ".join(filter(None, "".join(c for c in text if c not in unknown).split(" ")))
    return text


def select(
    utterances: Sequence[Utterance],
    tokenizer: Tokenizer,
    *,
    min_duration_s: float | None = None,
    max_duration_s: float | None = None,
    unknown_characters: UnknownCharacters = "error",
    output_frames: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Selection:
    """Leaves out utterances that the model cannot use or that are outside the bounds, which are inclusive as in NeMo.

    Args:
        utterances: as `read_manifest` gives them, or a list. Texts are read again only where they matter.
        tokenizer: of the model.
        min_duration_s: shorter ones are dropped. Default: no bound.
        max_duration_s: longer ones are dropped. Default: no bound.
        unknown_characters: what a character out of vocabulary does: "error" (default) raises, "drop_utterance"
            drops the utterance, "remove_character" takes it out of the text (doubled spaces it leaves become one).
        output_frames: seconds of audio [utterances] -> encoder frames T' [utterances]. With it, utterances with fewer
            frames than `ctc_frames_needed` are dropped. Default: not checked.

    Raises:
        UserError: characters out of vocabulary under "error", or no utterance is left.
    """
    if unknown_characters not in get_args(UnknownCharacters):
        choices = ", ".join(get_args(UnknownCharacters))
        raise UserError(f"unknown_characters: {unknown_characters!r} is none of {choices}")
    duration_s, characters, alphabet = columns(utterances)
    wanted = np.ones(len(utterances), bool)
    left_out: list[LeftOut] = []

    def leave_out(chosen: np.ndarray, reason: str, details: dict[int, str] | None = None) -> None:
        index = np.flatnonzero(chosen & wanted)
        if len(index):
            left_out.append(LeftOut(reason, index, float(duration_s[index].sum()) / 3600, details or {}))
            wanted[index] = False

    if min_duration_s is not None:
        leave_out(duration_s < min_duration_s, f"shorter than min_duration {min_duration_s:g} s")
    if max_duration_s is not None:
        leave_out(duration_s > max_duration_s, f"longer than max_duration {max_duration_s:g} s")

    label_len = tokenizer.label_len_bound(characters)
    if label_len is None:
        label_len, holds = _count_labels(utterances, np.flatnonzero(wanted), tokenizer)
    else:
        is_known = not tokenizer.out_of_vocabulary("".join(alphabet))
        holds = np.array([], int) if is_known else np.flatnonzero(wanted)
    table, holds = _find_unknown(utterances, holds, tokenizer)
    if table and unknown_characters == "error":
        raise UserError(_unknown_message(table, tokenizer))
    removes = bool(table) and unknown_characters == "remove_character"
    if removes:
        label_len = label_len.copy()
        for i in holds:
            label_len[i] = len(tokenizer.encode(without_unknown(utterances[i].text, tokenizer)))
    elif table:
        chosen = np.zeros(len(utterances), bool)
        chosen[holds] = True
        leave_out(chosen, "characters outside labels")

    if output_frames is not None:
        frames, details = output_frames(duration_s), {}
        infeasible = np.zeros(len(utterances), bool)
        # A blank between each two labels is the most that a text can need.
        for i in np.flatnonzero(wanted & (frames < 2 * label_len - 1)):
            text = utterances[i].text
            needed = ctc_frames_needed(tokenizer.encode(without_unknown(text, tokenizer) if removes else text))
            if frames[i] < needed:
                infeasible[i] = True
                details[int(i)] = f"{duration_s[i]:g} s give {frames[i]} frames, its text needs {needed}"
        leave_out(infeasible, "too short for its text (CTC)", details)

    index = np.flatnonzero(wanted)
    kept = Selected(utterances, index, duration_s[index], label_len[index], tokenizer if removes else None)
    selection = Selection(kept, left_out, utterances, table, unknown_characters)
    if not len(kept):
        raise UserError("no utterance is left to use: " + selection.summary().replace("\n", "; "))
    return selection


def _count_labels(
    utterances: Sequence[Utterance], index: np.ndarray, tokenizer: Tokenizer
) -> tuple[np.ndarray, np.ndarray]:
    """How many labels [utterances] the texts at `index` have, and which of them may be out of vocabulary."""
    label_len, is_unknown = np.zeros(len(utterances), np.int64), np.zeros(len(utterances), bool)
    for part in np.split(index, range(_AT_ONCE, len(index), _AT_ONCE)):
        rows = tokenizer.encode_batch([utterances[i].text for i in part])
        label_len[part] = [*map(len, rows)]
        is_unknown[part] = [not ids or tokenizer.unknown in ids for ids in rows]
    return label_len, np.flatnonzero(is_unknown)


def _find_unknown(
    utterances: Sequence[Utterance], index: np.ndarray, tokenizer: Tokenizer
) -> tuple[list[UnknownCharacter], np.ndarray]:
    """The characters out of vocabulary, the most frequent first, and the utterances that have one."""
    unknowns: dict[str, UnknownCharacter] = {}
    holds: list[int] = []
    for i in index:
        utterance = utterances[i]
        unknown = Counter(tokenizer.out_of_vocabulary(utterance.text))
        for character, count in unknown.items():
            unknowns.setdefault(character, UnknownCharacter(character, 0, utterance)).count += count
        if unknown:
            holds.append(int(i))
    return sorted(unknowns.values(), key=lambda unknown: -unknown.count), np.array(holds, int)


def _unknown_message(table: list[UnknownCharacter], tokenizer: Tokenizer) -> str:
    named = "; ".join(str(unknown) for unknown in table[:_NAMED])
    rest = f"; and {len(table) - _NAMED} more characters" if len(table) > _NAMED else ""
    if all(not tokenizer.out_of_vocabulary(unknown.character.lower()) for unknown in table):
        advice = "write the texts in lower case"
    else:
        advice = "correct the texts, add the characters to labels,"
    return (
        f"{len(table)} character{'s' if len(table) > 1 else ''} outside labels: {named}{rest}; "
        f"{advice} or set unknown_characters to drop_utterance or remove_character"
    )


def _shortened(text: str, character: str) -> str:
    """At most 40 characters of `text` around the first `character`."""
    start = max(0, text.index(character) - 20)
    return text[start : start + 40]
