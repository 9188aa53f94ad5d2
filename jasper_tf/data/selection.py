"""Which utterances of a manifest a model can use, and a report on the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Literal, get_args

import numpy as np

from jasper_tf.data.manifest import Utterance
from jasper_tf.errors import UserError
from jasper_tf.text.vocabulary import Vocabulary

UnknownCharacters = Literal["error", "drop_utterance", "remove_character"]

_NAMED = 20
"""So many utterances or characters are named one by one in a message; `Selection` itself holds all."""


@dataclass
class UnknownCharacter:
    """A character outside `labels`, how often it stands in the texts, and the first utterance that has it."""

    character: str
    count: int
    example: Utterance

    def __str__(self) -> str:
        times = "once" if self.count == 1 else f"{self.count} times"
        return (
            f"{self.character!r} U+{ord(self.character):04X} {times}, "
            f"as in {_shortened(self.example.text, self.character)!r} ({self.example.source})"
        )


@dataclass
class Selection:
    """The utterances kept, in their order, and those left out with the reason ("category" or "category: detail")."""

    utterances: list[Utterance]
    dropped: list[tuple[Utterance, str]] = field(default_factory=list)
    unknown_characters: list[UnknownCharacter] = field(default_factory=list)
    unknown_setting: UnknownCharacters = "error"

    def summary(self) -> str:
        """Lines of text: hours kept and dropped by reason, whom CTC cannot align, the characters outside `labels`."""
        total = len(self.utterances) + len(self.dropped)
        lines = [f"kept {len(self.utterances)} of {total} utterances, {_hours(self.utterances)}"]
        by_category: dict[str, list[tuple[Utterance, str]]] = {}
        for utterance, reason in self.dropped:
            category, _, detail = reason.partition(": ")
            by_category.setdefault(category, []).append((utterance, detail))
        for category, members in by_category.items():
            lines.append(f"dropped {len(members)}, {_hours(u for u, _ in members)}: {category}")
            detailed = [(utterance, detail) for utterance, detail in members if detail]
            lines += [f"  {utterance.source} {utterance.path}: {detail}" for utterance, detail in detailed[:_NAMED]]
            if len(detailed) > _NAMED:
                lines.append(f"  and {len(detailed) - _NAMED} more")
        if self.unknown_characters:
            done = "their utterances dropped" if self.unknown_setting == "drop_utterance" else "removed"
            lines.append(f"characters outside labels, {done}:")
            lines += [f"  {unknown}" for unknown in self.unknown_characters]
        return "\n".join(lines)


def ctc_frames_needed(labels: np.ndarray) -> int:
    """The fewest encoder frames T' on which CTC can write labels [U]: one each, and a blank between equal neighbours.

    Source: Graves et al. 2006, section 3.1 (the map B merges repeats unless a blank parts them).
    """
    return len(labels) + int(np.count_nonzero(labels[1:] == labels[:-1]))


def select(
    utterances: Iterable[Utterance],
    vocabulary: Vocabulary,
    *,
    min_duration_s: float | None = None,
    max_duration_s: float | None = None,
    unknown_characters: UnknownCharacters = "error",
    output_frames: Callable[[float], int] | None = None,
) -> Selection:
    """Leaves out what the model cannot or shall not use. Bounds are inclusive, as in NeMo.

    Args:
        utterances: as `read_manifest` gives them.
        vocabulary: the characters of the model.
        min_duration_s: shorter ones are dropped. Default: no bound.
        max_duration_s: longer ones are dropped. Default: no bound.
        unknown_characters: what a character outside the vocabulary does: "error" (default) raises, "drop_utterance"
            drops the utterance, "remove_character" takes it out of the text (doubled spaces it leaves become one).
        output_frames: seconds of audio -> encoder frames T'. With it, utterances with fewer frames than
            `ctc_frames_needed` are dropped. Default: not checked.

    Raises:
        UserError: characters outside the vocabulary under "error", or no utterance is left.
    """
    if unknown_characters not in get_args(UnknownCharacters):
        choices = ", ".join(get_args(UnknownCharacters))
        raise UserError(f"unknown_characters: {unknown_characters!r} is none of {choices}")
    kept: list[Utterance] = []
    dropped: list[tuple[Utterance, str]] = []
    unknowns: dict[str, UnknownCharacter] = {}
    for utterance in utterances:
        if min_duration_s is not None and utterance.duration_s < min_duration_s:
            dropped.append((utterance, f"shorter than min_duration {min_duration_s:g} s"))
            continue
        if max_duration_s is not None and utterance.duration_s > max_duration_s:
            dropped.append((utterance, f"longer than max_duration {max_duration_s:g} s"))
            continue
        unknown = Counter(vocabulary.unknown(utterance.text))
        for character, count in unknown.items():
            unknowns.setdefault(character, UnknownCharacter(character, 0, utterance)).count += count
        if unknown and unknown_characters != "remove_character":
            dropped.append((utterance, "characters outside labels"))
            continue
        if unknown:
            utterance = replace(utterance, text=_without(utterance.text, set(unknown)))
        if output_frames is not None:
            frames = output_frames(utterance.duration_s)
            needed = ctc_frames_needed(vocabulary.encode(utterance.text))
            if frames < needed:
                detail = f"{utterance.duration_s:g} s give {frames} frames, its text needs {needed}"
                dropped.append((utterance, f"too short for its text (CTC): {detail}"))
                continue
        kept.append(utterance)
    table = sorted(unknowns.values(), key=lambda unknown: -unknown.count)
    if table and unknown_characters == "error":
        raise UserError(_unknown_message(table, vocabulary))
    selection = Selection(kept, dropped, table, unknown_characters)
    if not kept:
        raise UserError("no utterance is left to use: " + selection.summary().replace("\n", "; "))
    return selection


def _unknown_message(table: list[UnknownCharacter], vocabulary: Vocabulary) -> str:
    named = "; ".join(str(unknown) for unknown in table[:_NAMED])
    rest = f"; and {len(table) - _NAMED} more characters" if len(table) > _NAMED else ""
    if all(not vocabulary.unknown(unknown.character.lower()) for unknown in table):
        advice = "write the texts in lower case"
    else:
        advice = "correct the texts, add the characters to labels,"
    return (
        f"{len(table)} character{'s' if len(table) > 1 else ''} outside labels: {named}{rest}; "
        f"{advice} or set unknown_characters to drop_utterance or remove_character"
    )


def _without(text: str, characters: set[str]) -> str:
    remaining = "".join(character for character in text if character not in characters)
    return " ".join(word for word in remaining.split(" ") if word)


def _shortened(text: str, character: str) -> str:
    """At most 40 characters of `text` around the first `character`."""
    start = max(0, text.index(character) - 20)
    return text[start : start + 40]


def _hours(utterances: Iterable[Utterance]) -> str:
    return f"{sum(utterance.duration_s for utterance in utterances) / 3600:.2f} h"
