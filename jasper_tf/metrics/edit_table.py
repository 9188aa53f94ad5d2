"""Markdown table of references and hypotheses with marked errors."""

from __future__ import annotations

import re
from collections.abc import Sequence

import jiwer

from jasper_tf.metrics.error_rate import SPLIT, wer

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
    output = jiwer.process_words([reference], [hypothesis], SPLIT["word"], SPLIT["word"])
    reference_marks: list[str] = []
    hypothesis_marks: list[str] = []
    for chunk in output.alignments[0]:
        reference_words = output.references[0][chunk.ref_start_idx : chunk.ref_end_idx]
        hypothesis_words = output.hypotheses[0][chunk.hyp_start_idx : chunk.hyp_end_idx]
        if chunk.type == "equal":
            reference_marks += map(escape_markdown, reference_words)
            hypothesis_marks += map(escape_markdown, hypothesis_words)
        elif chunk.type == "substitute":
            reference_marks += [f"**{escape_markdown(word)}**" for word in reference_words]
            hypothesis_marks += [f"**{escape_markdown(word)}**" for word in hypothesis_words]
        elif chunk.type == "delete":
            reference_marks += [
                f"**{''.join(escape_markdown(c) + _STRIKE for c in word)}**" for word in reference_words
            ]
        else:
            hypothesis_marks += [f"**+{escape_markdown(word)}**" for word in hypothesis_words]
    return " ".join(reference_marks) or "*(nothing)*", " ".join(hypothesis_marks) or "*(nothing)*"


def escape_markdown(text: str) -> str:
    """Replaces characters that are special in Markdown or its tables by HTML entities."""
    return re.sub(r"[\\`*_\[\]|<>&!~]", lambda found: f"&#{ord(found[0])};", text)
