"""Segments of a transcript: its words, cut at pauses and at a largest length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.errors import UserError


@dataclass(frozen=True)
class Segmentation:
    """Where the words of a transcript are cut into segments.

    Args:
        pause_s: a gap between words from which on a segment ends, seconds. CTC ends words early (see `time_labels`), so
            gaps are longer than the silence: of AN4's, within utterances, 99 % are shorter than the default.
        longest_s: a segment is cut at its longest gap to be no longer than this, seconds; one word may be longer.

    Raises:
        UserError: a value is not above 0.
    """

    pause_s: float = 0.8
    longest_s: float = 15.0

    def __post_init__(self) -> None:
        for name, value in (("pause_s", self.pause_s), ("longest_s", self.longest_s)):
            if not value > 0:
                raise UserError(f"{name} {value:g}: must be a number of seconds above 0")


def segment_words(words: Sequence[WordTiming], segmentation: Segmentation | None = None) -> tuple[WordTiming, ...]:
    """Joins words to segments that follow each other without overlap.

    A segment's confidence is the mean of its words', each weighted by its characters.

    Args:
        words: in temporal order.
        segmentation: where to cut. Default: `Segmentation()`.
    """
    rules = segmentation or Segmentation()
    segments: list[WordTiming] = []
    for group in group_words_by_time(words, rules.pause_s, rules.longest_s):
        earliest_s = segments[-1].end_s if segments else 0.0
        start_s = max(group[0].start_s, earliest_s)
        end_s = max(start_s, *(word.end_s for word in group))
        weight = sum(len(word.text) for word in group)
        confidence = sum(word.confidence * len(word.text) for word in group) / max(weight, 1)
        segments.append(WordTiming(" ".join(word.text for word in group), start_s, end_s, confidence))
    return tuple(segments)


def group_words_by_time(words: Sequence[WordTiming], pause_s: float, longest_s: float) -> list[list[WordTiming]]:
    """Cuts words at every gap of `pause_s`, and groups that last longer than `longest_s` at their longest gaps."""
    groups: list[list[WordTiming]] = []
    for word in words:
        if groups and word.start_s - groups[-1][-1].end_s < pause_s:
            groups[-1].append(word)
        else:
            groups.append([word])
    return [part for group in groups for part in _cut(group, longest_s)]


def _cut(group: list[WordTiming], longest_s: float) -> list[list[WordTiming]]:
    parts = []
    while len(group) > 1 and group[-1].end_s - group[0].start_s > longest_s:
        # As many words as fit; of them at least half, so that a long speech is not cut to pieces.
        fit = next(k for k in range(1, len(group)) if group[k].end_s - group[0].start_s > longest_s)
        at = max(range(fit, fit // 2, -1), key=lambda k: group[k].start_s - group[k - 1].end_s)
        parts.append(group[:at])
        group = group[at:]
    return [*parts, group]
