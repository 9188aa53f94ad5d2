"""Alignment of a reference with a hypothesis, edit by edit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import jiwer
from rich.cells import cell_len

from jasper_tf.metrics.error_rate import SPLIT, ErrorCounts, Unit

EditKind = Literal["equal", "substitute", "delete", "insert"]


@dataclass(frozen=True, slots=True)
class Edit:
    """One word (or character) of an alignment.

    Attributes:
        kind: "equal" where both texts have it.
        reference: of the reference; "" for an insertion.
        hypothesis: of the hypothesis; "" for a deletion.
    """

    kind: EditKind
    reference: str
    hypothesis: str


def find_edits(reference: str, hypothesis: str, unit: Unit = "word") -> list[Edit]:
    """Aligns two texts as `count_errors` does (jiwer, the fewest edits)."""
    output = jiwer.process_words([reference], [hypothesis], SPLIT[unit], SPLIT[unit])
    edits: list[Edit] = []
    for chunk in output.alignments[0]:
        expected = output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
        found = output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "delete":
            edits += [Edit("delete", one, "") for one in expected]
        elif chunk.type == "insert":
            edits += [Edit("insert", "", one) for one in found]
        else:
            kind: EditKind = "equal" if chunk.type == "equal" else "substitute"
            edits += [Edit(kind, *pair) for pair in zip(expected, found, strict=True)]
    return edits


def count_edits(edits: Sequence[Edit]) -> ErrorCounts:
    """Counts the edits of one utterance."""
    kinds: list[str] = [edit.kind for edit in edits]
    hits, substitutions, insertions, deletions = map(kinds.count, ("equal", "substitute", "insert", "delete"))
    return ErrorCounts(hits, substitutions, insertions, deletions, utterances=1)


def format_edits(edits: Sequence[Edit], width: int) -> list[tuple[str, str]]:
    """Formats an alignment as rows of (reference, hypothesis) of at most `width` columns, words below each other.

    Stars stand where a word is missing. A longer word has a row of its own.
    """
    rows: list[tuple[str, str]] = []
    expected, found, used = "", "", 0
    for edit in edits:
        size = max(cell_len(edit.reference), cell_len(edit.hypothesis))
        if used and used + size > width:
            rows.append((expected.rstrip(), found.rstrip()))
            expected, found, used = "", "", 0
        above, below = edit.reference or "*" * size, edit.hypothesis or "*" * size
        expected += above + " " * (size - cell_len(above) + 1)
        found += below + " " * (size - cell_len(below) + 1)
        used += size + 1
    return [*rows, (expected.rstrip(), found.rstrip())] if used else rows
