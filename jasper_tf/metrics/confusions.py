"""Which words (or characters) a model confuses, inserts and deletes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from jasper_tf.metrics.edits import Edit


@dataclass
class Confusions:
    """Counts of each error over many utterances.

    Attributes:
        substitutions: by (reference, hypothesis).
        insertions: by what was inserted.
        deletions: by what was deleted.
    """

    substitutions: Counter[tuple[str, str]] = field(default_factory=Counter)
    insertions: Counter[str] = field(default_factory=Counter)
    deletions: Counter[str] = field(default_factory=Counter)

    def add(self, edits: Iterable[Edit]) -> None:
        """Counts the edits of one utterance."""
        for edit in edits:
            if edit.kind == "substitute":
                self.substitutions[edit.reference, edit.hypothesis] += 1
            elif edit.kind == "insert":
                self.insertions[edit.hypothesis] += 1
            elif edit.kind == "delete":
                self.deletions[edit.reference] += 1

    def as_json(self, most: int) -> dict[str, Any]:
        """Values for JSON: the `most` frequent errors of each kind."""
        return {
            "substitutions": [
                {"reference": reference, "hypothesis": hypothesis, "count": count}
                for (reference, hypothesis), count in self.substitutions.most_common(most)
            ],
            "insertions": [
                {"hypothesis": inserted, "count": count} for inserted, count in self.insertions.most_common(most)
            ],
            "deletions": [
                {"reference": deleted, "count": count} for deleted, count in self.deletions.most_common(most)
            ],
        }
