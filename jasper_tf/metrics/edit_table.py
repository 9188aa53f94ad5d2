"""Markdown table of references and hypotheses with marked errors."""

from __future__ import annotations

import re
from collections.abc import Sequence

from jasper_tf.metrics.edits import find_edits
from jasper_tf.metrics.error_rate import wer

_STRIKE = "\N{COMBINING LONG STROKE OVERLAY}"
_STRUCK = "".join(character + _STRIKE for character in "struck")
_LEGEND = f"**word**: substituted · **{_STRUCK}**: deleted · **+word**: inserted"


def edit_table(references: Sequence[str], hypotheses: Sequence[str]) -> str:
    """Formats a table of word error rate, reference and hypothesis, a row per utterance, with a legend.

    In jiwer's alignment a substituted word is bold on both sides, a deleted word is bold and struck out in the
    reference, and an inserted word is bold with a plus in the hypothesis. Strokes are combining characters, because
    TensorBoard's Markdown has no strikethrough. Special characters are escaped.

    Args:
        references, hypotheses: the same number of texts, in the same order.
    """
    lines = ["| WER | reference | hypothesis |", "|---:|---|---|"]
    for reference, hypothesis in zip(references, hypotheses, strict=True):
        marked = _mark(reference, hypothesis)
        lines.append(f"| {wer([reference], [hypothesis]):.0%} | {marked[0]} | {marked[1]} |")
    return "\n".join([*lines, "", _LEGEND])


def _mark(reference: str, hypothesis: str) -> tuple[str, str]:
    reference_marks: list[str] = []
    hypothesis_marks: list[str] = []
    for edit in find_edits(reference, hypothesis):
        expected, found = escape_markdown(edit.reference), escape_markdown(edit.hypothesis)
        if edit.kind == "equal":
            reference_marks.append(expected)
            hypothesis_marks.append(found)
        elif edit.kind == "substitute":
            reference_marks.append(f"**{expected}**")
            hypothesis_marks.append(f"**{found}**")
        elif edit.kind == "delete":
            reference_marks.append(f"**{''.join(escape_markdown(c) + _STRIKE for c in edit.reference)}**")
        else:
            hypothesis_marks.append(f"**+{found}**")
    return " ".join(reference_marks) or "*(nothing)*", " ".join(hypothesis_marks) or "*(nothing)*"


def escape_markdown(text: str) -> str:
    """Replaces characters that are special in Markdown or its tables by HTML entities."""
    return re.sub(r"[\\`*_\[\]|<>&!~]", lambda found: f"&#{ord(found[0])};", text)
