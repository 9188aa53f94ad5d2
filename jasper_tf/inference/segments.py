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
    for group in group_words(
        words, rules.pause_s, lambda i, j: words[j - 1].end_s - words[i].start_s <= rules.longest_s
    ):
        earliest_s = segments[-1].end_s if segments else 0.0
        start_s = max(group[0].start_s, earliest_s)
        end_s = max(start_s, group[-1].end_s)
        segments.append(WordTiming(" ".join(word.text for word in group), start_s, end_s, mean_confidence(group)))
    return tuple(segments)


def mean_confidence(words: Sequence[WordTiming]) -> float:
    """The mean of the confidences of words, each weighted by its characters; 0 without words."""
    weight = sum(len(word.text) for word in words)
    return sum(word.confidence * len(word.text) for word in words) / max(weight, 1)


def group_words(
    words: Sequence[WordTiming], pause_s: float, fits: Callable[[int, int], bool], shortest_s: float = 0.0
) -> list[Sequence[WordTiming]]:
    """Cuts words into groups at pauses, and where they do not fit at their longest gaps.

    Args:
        words: in temporal order.
        pause_s: a gap from which on a group ends, seconds.
        fits: whether `words[i:j]` may be one group; a single word always is.
        shortest_s: a group does not end at a pause before this time has passed, seconds.
    """

    def gap_s(k: int) -> float:
        return words[k].start_s - words[k - 1].end_s

    ends, first = [], 0
    for k in range(1, len(words) + 1):
        if k < len(words) and not (gap_s(k) >= pause_s and words[k].start_s - words[first].start_s >= shortest_s):
            continue
        while (most := next((j for j in range(first + 1, k) if not fits(first, j + 1)), k)) < k:
            # At least half of the words that fit, so that a long speech is not cut to pieces.
            first = max(range(most, (first + most) // 2, -1), key=gap_s)
            ends.append(first)
        ends.append(k)
        first = k
    return [words[i:j] for i, j in zip([0, *ends], ends, strict=False)]
