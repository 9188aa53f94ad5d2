"""Word and character error rate, counted by jiwer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Literal

import jiwer

Unit = Literal["word", "character"]

# jiwer strips and merges spaces by default; here the text is unchanged (NeMo: `split()` and `list()`).
SPLIT = {"word": jiwer.ReduceToListOfListOfWords(), "character": jiwer.ReduceToListOfListOfChars()}


@dataclass(frozen=True)
class ErrorCounts:
    """Edit operations summed over utterances; `a + b` adds two counts."""

    hits: int = 0
    substitutions: int = 0
    insertions: int = 0
    deletions: int = 0
    utterances: int = 0

    @property
    def errors(self) -> int:
        return self.substitutions + self.insertions + self.deletions

    @property
    def reference(self) -> int:
        """Words (or characters) of the reference texts."""
        return self.hits + self.substitutions + self.deletions

    @property
    def rate(self) -> float:
        """Errors per reference word; without reference words the number of insertions (as jiwer; NeMo: inf)."""
        return self.errors / max(self.reference, 1)

    def __add__(self, other: ErrorCounts) -> ErrorCounts:
        return ErrorCounts(*(getattr(self, field.name) + getattr(other, field.name) for field in fields(self)))


def count_errors(references: Sequence[str], hypotheses: Sequence[str], unit: Unit = "word") -> ErrorCounts:
    """Aligns each hypothesis with its reference and counts the errors of the whole set.

    Words are what spaces separate; characters include every space. Nothing is lower-cased, stripped or dropped, and
    an empty reference counts all of its hypothesis as insertions.

    Args:
        references, hypotheses: the same number of texts, in the same order.
        unit: "word" or "character".

    Raises:
        ValueError: the numbers of texts differ.
    """
    if len(references) != len(hypotheses):
        raise ValueError(f"{len(references)} references, but {len(hypotheses)} hypotheses")
    if not references:
        return ErrorCounts()
    split = SPLIT[unit]
    output = jiwer.process_words(list(references), list(hypotheses), split, split)
    return ErrorCounts(output.hits, output.substitutions, output.insertions, output.deletions, len(references))


def wer(references: Sequence[str], hypotheses: Sequence[str]) -> float:
    """Returns the word error rate of the whole set (1.0 = 100 %); see `count_errors`."""
    return count_errors(references, hypotheses, "word").rate
