"""Segments of a transcript: its words, cut at pauses and at a largest length."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    for group in group_words(words, rules.pause_s, lambda part: part[-1].end_s - part[0].start_s <= rules.longest_s):
        earliest_s = segments[-1].end_s if segments else 0.0
        start_s = max(group[0].start_s, earliest_s)
        end_s = max(start_s, *(word.end_s for word in group))
        weight = sum(len(word.text) for word in group)
        confidence = sum(word.confidence * len(word.text) for word in group) / max(weight, 1)
        segments.append(WordTiming(" ".join(word.text for word in group), start_s, end_s, confidence))
    return tuple(segments)


def group_words(
    words: Sequence[WordTiming], pause_s: float, fits: Callable[[Sequence[WordTiming]], bool], shortest_s: float = 0.0
) -> list[list[WordTiming]]:
    """Cuts words into groups at pauses, and where they do not fit at their longest gaps.

    Args:
        words: in temporal order.
        pause_s: a gap from which on a group ends, seconds.
        fits: whether words may form one group; a single word always does.
        shortest_s: a group does not end at a pause before this time has passed, seconds.
    """
    groups: list[list[WordTiming]] = []
    for word in words:
        pause = groups and word.start_s - groups[-1][-1].end_s >= pause_s
        if groups and not (pause and word.start_s - groups[-1][0].start_s >= shortest_s):
            groups[-1].append(word)
        else:
            groups.append([word])
    return [part for group in groups for part in _cut(group, fits)]


def _cut(group: list[WordTiming], fits: Callable[[Sequence[WordTiming]], bool]) -> list[list[WordTiming]]:
    parts = []
    while (most := next((k for k in range(1, len(group)) if not fits(group[: k + 1])), 0)) > 0:
        # At least half of the words that fit, so that a long speech is not cut to pieces.
        at = max(range(most, most // 2, -1), key=lambda k: group[k].start_s - group[k - 1].end_s)
        parts.append(group[:at])
        group = group[at:]
    return [*parts, group]
