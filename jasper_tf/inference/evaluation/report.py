"""Report of an evaluation, as text and as JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from jasper_tf.errors import printable, shorten
from jasper_tf.inference.evaluation.evaluate import Evaluation, ScoredUtterance
from jasper_tf.metrics.edits import find_edits, format_edits

_WORST, _CONFUSIONS = 5, 10
_WORST_IN_JSON = 20
_CONFUSIONS_IN_JSON = 100
_COLUMNS = 100
_MOST_ROWS = 3
"""Rows of an alignment; the rest of a long utterance is left out."""


def as_json(evaluation: Evaluation, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Values for a JSON file: rates, counts, the worst utterances and the most frequent confusions.

    Args:
        evaluation: the results.
        settings: how the audio was read and decoded, added as they are.
    """
    words, characters = evaluation.words, evaluation.characters
    return {
        "wer": words.rate if words.utterances else None,
        "cer": characters.rate if words.utterances else None,
        "insertions": words.insertions,
        "deletions": words.deletions,
        "substitutions": words.substitutions,
        "utterances": words.utterances,
        "words": words.reference,
        "characters": characters.reference,
        "audio_s": evaluation.audio_s,
        "real_time_factor": evaluation.elapsed_s / evaluation.audio_s if evaluation.audio_s else None,
        "unreadable": evaluation.unreadable,
        "unknown_characters": dict(evaluation.unknown_characters),
        **settings,
        "calibration": None if evaluation.calibration is None else evaluation.calibration.as_json(),
        "worst": [_worst(one) for one in evaluation.worst_first()[:_WORST_IN_JSON] if one.words.errors],
        "word_confusions": evaluation.word_confusions.as_json(_CONFUSIONS_IN_JSON),
        "character_confusions": evaluation.character_confusions.as_json(_CONFUSIONS_IN_JSON),
    }


def as_text(evaluation: Evaluation) -> str:
    """Formats the error rates, then the worst utterances and the most frequent confusions, if there are errors."""
    lines = [_summary(evaluation)]
    worst = [one for one in evaluation.worst_first()[:_WORST] if one.words.errors]
    if worst:
        lines += ["", "most word errors (reference above hypothesis):"]
    for one in worst:
        where = printable(f"{one.utterance.path}  {one.utterance.source}")
        lines.append(f"  {one.words.errors} in {one.words.reference} words, {one.words.rate:.2%}: {where}")
        rows = format_edits(find_edits(printable(one.utterance.text), printable(one.text)), _COLUMNS)
        for expected, found in rows[:_MOST_ROWS]:
            lines += [f"    {expected}", f"    {found}"]
        if len(rows) > _MOST_ROWS:
            lines.append("    ...")
    substitutions = evaluation.word_confusions.substitutions
    pairs = [(count, f"{one} -> {other}") for (one, other), count in substitutions.most_common(_CONFUSIONS)]
    frequent = {
        "words confused": pairs,
        "words deleted": _most(evaluation.word_confusions.deletions),
        "words inserted": _most(evaluation.word_confusions.insertions),
        "characters confused": _characters(evaluation),
    }
    if any(frequent.values()):
        lines.append("")
    for what, errors in frequent.items():
        if errors:
            lines.append(f"{what}: " + ", ".join(f"{count} {shorten(printable(text), 60)}" for count, text in errors))
    return "\n".join(lines)


def _summary(evaluation: Evaluation) -> str:
    words, unreadable = evaluation.words, evaluation.unreadable
    if not words.utterances:
        return f"WER unknown: none of {unreadable} recordings can be read"
    parts = [
        f"WER {words.rate:.2%} ({words.substitutions} substitutions, {words.insertions} insertions, "
        f"{words.deletions} deletions in {words.reference} words)",
        f"CER {evaluation.characters.rate:.2%}",
        f"{words.utterances} utterances, {evaluation.audio_s / 3600:.2f} h",
    ]
    if unreadable:
        parts.append(f"{unreadable} unreadable")
    if evaluation.calibration is not None:
        parts.append(f"ECE {evaluation.calibration.error:.2%}")
    if evaluation.audio_s:
        parts.append(f"real-time factor {evaluation.elapsed_s / evaluation.audio_s:.4f}")
    return "  ".join(parts)


def _worst(one: ScoredUtterance) -> dict[str, Any]:
    return {
        "audio_filepath": one.utterance.path,
        "source": one.utterance.source,
        "offset": one.utterance.offset_s,
        "duration": one.utterance.duration_s,
        "text": one.utterance.text,
        "pred_text": one.text,
        "errors": one.words.errors,
        "wer": one.words.rate,
        "cer": one.characters.rate,
        "alignment": [
            {"edit": edit.kind, "reference": edit.reference, "hypothesis": edit.hypothesis}
            for edit in find_edits(one.utterance.text, one.text)
        ],
    }


def _most(counts: Counter[str]) -> list[tuple[int, str]]:
    return [(count, text) for text, count in counts.most_common(_CONFUSIONS)]


def _characters(evaluation: Evaluation) -> list[tuple[int, str]]:
    """The most frequent character errors of every kind: quoted, because one may be a space."""
    confusions = evaluation.character_confusions
    every: Counter[str] = Counter()
    every.update({f"{one!r} -> {other!r}": count for (one, other), count in confusions.substitutions.items()})
    every.update({f"{one!r} deleted": count for one, count in confusions.deletions.items()})
    every.update({f"{one!r} inserted": count for one, count in confusions.insertions.items()})
    return _most(every)
