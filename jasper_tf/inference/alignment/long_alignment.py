"""Alignment of a long recording with its text: anchors first, then stretch by stretch."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, pairwise

import jiwer

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.decoding.writing import space_label
from jasper_tf.errors import UserError
from jasper_tf.inference.alignment.recording_frames import RecordingFrames
from jasper_tf.inference.alignment.text_aligner import AlignedWord, TextAligner
from jasper_tf.metrics.error_rate import SPLIT
from jasper_tf.text.tokenizer import Tokenizer

LOWEST_SCORE = -2.5
"""Mean log-posterior of a word below which it was probably not said; said words are seldom below -1."""

_ANCHOR_WORDS = 3
"""Recognized words in a row that make an anchor."""

_SMALL_GAP_WORDS, _SMALL_GAP_S = 10, 8.0
"""Up to this many words and seconds, recognition errors between two anchors are aligned together with them."""

_WORDS_OFF = 2
"""Largest difference of the number of words in a small gap and the number recognized there."""

SILENT_S = 3.0
"""What lies between two words for at least this many seconds is reported: a pause, music, words that no text has."""

_STRETCH_S = 30.0
"""Stretches are cut at anchors to be about this long."""

_MOST_CELLS = 2**28
"""Frames times labels of a stretch: bytes of its back-pointers."""

_MOST_ROWS, _BATCH_CELLS = 16, 2**25


@dataclass(frozen=True)
class Alignment:
    """A recording aligned with its text.

    Attributes:
        words: in temporal order.
        unmatched_text: words of the text that were not found, with the times between which they would be.
        unmatched_audio: (start, end) in seconds of what lies between two words for `SILENT_S` or more.
    """

    words: Sequence[AlignedWord]
    unmatched_text: Sequence[WordTiming] = ()
    unmatched_audio: Sequence[tuple[float, float]] = ()


@dataclass
class _Stretch:
    """Words first <= i < last of the text, looked for between two times; a gap holds no anchor."""

    first: int
    last: int
    start_s: float
    end_s: float
    is_gap: bool
    ends_before_word: bool
    words: list[AlignedWord] = field(default_factory=list)

    def text(self, words: Sequence[str]) -> str:
        """Its words, with the spaces that the model writes between two stretches: behind an anchor, before a cut."""
        text = " ".join(words[self.first : self.last])
        before = " " if self.is_gap and self.first else ""
        return before + text + (" " if self.ends_before_word and self.last < len(words) else "")


@dataclass(frozen=True)
class _Anchor:
    """A word of the text that was recognized, with its number."""

    number: int
    start_s: float
    end_s: float


def align_long(aligner: TextAligner, frames: RecordingFrames, text: str) -> Alignment:
    """Aligns a recording with a text that may have words that are not said, and lack words that are.

    The greedy words are compared with the text by edit distance (jiwer); `_ANCHOR_WORDS` that agree in a row are
    anchors. The stretches between and around them are force-aligned, each in its own part of the recording, so that a
    mistake stays where it is (Moreno et al. 1998, "A recursive algorithm for the forced alignment of very long audio
    segments"). What scores below `LOWEST_SCORE` was not said: `_ANCHOR_WORDS` or more words in a row, any word in a gap
    between anchors, and the whole gap if that is most of it.

    Args:
        aligner: of the model.
        frames: of the recording.
        text: its transcript.

    Raises:
        UserError: a character is out of vocabulary; nothing of the text was recognized.
    """
    words = text.split()
    aligner.require_labels(" ".join(words))
    duration_s = len(frames.log_probs) * aligner.frame_s
    stretches = _divide([_written(word, aligner.tokenizer) for word in words], frames.words.words or (), duration_s)
    for batch in _batches([one for one in stretches if one.first < one.last], words, aligner.frame_s):
        _align(aligner, frames, words, batch)
    return _collect(stretches, words, duration_s)


def _written(word: str, tokenizer: Tokenizer) -> str:
    """The word as the model writes it: word pieces can be of small letters and stand for capitals too."""
    written = tokenizer.decode(tokenizer.encode(word)).split()
    return written[0] if len(written) == 1 else word


def _divide(words: Sequence[str], heard: Sequence[WordTiming], duration_s: float) -> list[_Stretch]:
    """Divides text and recording into stretches with anchors and the gaps between them."""
    runs = _recognized(words, heard)
    if not runs:
        raise UserError(f"text and recording do not match: no {_ANCHOR_WORDS} words in a row were recognized")
    begin, end = _Anchor(-1, 0.0, 0.0), _Anchor(len(words), duration_s, duration_s)
    starts_s = [word.start_s for word in heard]
    groups: list[list[_Anchor]] = []
    for run in [[begin], *runs, [end]]:
        if groups and _is_small(groups[-1][-1], run[0], starts_s):
            groups[-1] += run
        else:
            groups.append(run)
    stretches: list[_Stretch] = []
    for group, after in zip(groups, [*groups[1:], None], strict=True):
        first, start_s = max(group[0].number, 0), group[0].start_s
        for number, cut_s in _cuts([one for one in group if one is not begin and one is not end]):
            stretches.append(_Stretch(first, number, start_s, cut_s, False, ends_before_word=True))
            first, start_s = number, cut_s
        if first < (last := min(group[-1].number + 1, len(words))):
            stretches.append(_Stretch(first, last, start_s, group[-1].end_s, False, ends_before_word=False))
        if after is not None:
            between = (group[-1].number + 1, after[0].number, group[-1].end_s, after[0].start_s)
            stretches.append(_Stretch(*between, is_gap=True, ends_before_word=True))
    return stretches


def _recognized(words: Sequence[str], heard: Sequence[WordTiming]) -> list[list[_Anchor]]:
    """The runs of words of the text that were recognized."""
    if not words or not heard:
        return []
    spoken = " ".join(word.text for word in heard)
    output = jiwer.process_words([" ".join(words)], [spoken], SPLIT["word"], SPLIT["word"])
    runs = [
        (chunk.ref_start_idx, chunk.hyp_start_idx, chunk.ref_end_idx - chunk.ref_start_idx)
        for chunk in output.alignments[0]
        if chunk.type == "equal" and chunk.ref_end_idx - chunk.ref_start_idx >= _ANCHOR_WORDS
    ]
    found: list[list[_Anchor]] = []
    least = least_at = 0
    for start, at, length in runs:
        last, last_at = start + length, at + length
        # Of alignments with equally few edits jiwer takes the one with the earliest words.
        while start > least and at > least_at and words[start - 1] == heard[at - 1].text:
            start, at = start - 1, at - 1
        least, least_at = last, last_at
        timed = zip(range(start, last), heard[at:last_at], strict=True)
        found.append([_Anchor(number, word.start_s, word.end_s) for number, word in timed])
    return found


def _is_small(left: _Anchor, right: _Anchor, starts_s: Sequence[float]) -> bool:
    """Whether only recognition errors lie between two anchors."""
    missing, seconds = right.number - left.number - 1, right.start_s - left.end_s
    between = bisect_left(starts_s, right.start_s) - bisect_left(starts_s, left.end_s)
    if not missing and not between:
        return seconds < SILENT_S
    return missing <= _SMALL_GAP_WORDS and seconds < _SMALL_GAP_S and abs(missing - between) <= _WORDS_OFF


def _cuts(anchors: Sequence[_Anchor]) -> Iterator[tuple[int, float]]:
    """Number and time of the words that begin new stretches: each behind the longest pause of half a stretch."""
    begin_s, longest_s, cut = anchors[0].start_s if anchors else 0.0, -1.0, None
    for left, right in pairwise(anchors):
        # Between neighbors in the text no word needs the time that is divided.
        if right.number == left.number + 1 and right.start_s - begin_s >= _STRETCH_S / 2:
            if right.start_s - left.end_s > longest_s:
                longest_s = right.start_s - left.end_s
                cut = right.number, right.start_s
            if right.start_s - begin_s >= _STRETCH_S and cut is not None:
                yield cut
                begin_s, longest_s, cut = cut[1], -1.0, None


def _batches(stretches: Sequence[_Stretch], words: Sequence[str], frame_s: float) -> Iterator[list[_Stretch]]:
    """Stretches of similar size together; those that are too large for the memory are left out."""

    def size(one: _Stretch) -> tuple[float, int]:
        return (one.end_s - one.start_s) / frame_s, sum(len(word) + 1 for word in words[one.first : one.last])

    batch: list[_Stretch] = []
    most = [0.0, 0.0]
    for one in sorted(stretches, key=size):
        frames, labels = size(one)
        if frames * labels > _MOST_CELLS:
            continue
        larger = [max(most[0], frames), max(most[1], labels)]
        if batch and (len(batch) == _MOST_ROWS or (len(batch) + 1) * larger[0] * larger[1] > _BATCH_CELLS):
            yield batch
            batch, larger = [], [frames, labels]
        batch.append(one)
        most = larger
    if batch:
        yield batch


def _align(aligner: TextAligner, frames: RecordingFrames, words: Sequence[str], batch: Sequence[_Stretch]) -> None:
    first = [round(one.start_s / aligner.frame_s) for one in batch]
    parts = [
        frames.log_probs[start : round(one.end_s / aligner.frame_s)] for start, one in zip(first, batch, strict=True)
    ]
    texts = [
        one.text(words) if space_label(aligner.tokenizer) is not None else one.text(words).strip() for one in batch
    ]
    for one, start, found in zip(batch, first, aligner.align(parts, texts), strict=True):
        if isinstance(found, UserError):  # too few frames
            continue
        said = sum(word.score >= LOWEST_SCORE for word in found)
        if not one.is_gap or 2 * said >= len(found):
            one.words = [word.shifted(start * aligner.frame_s) for word in found]


def _collect(stretches: Sequence[_Stretch], words: Sequence[str], duration_s: float) -> Alignment:
    found: list[AlignedWord] = []
    missing: list[WordTiming] = []
    for one in stretches:
        if not one.words and one.first < one.last:
            missing.append(WordTiming(" ".join(words[one.first : one.last]), one.start_s, one.end_s, 0.0))
        for is_low, group in groupby(one.words, lambda word: word.score < LOWEST_SCORE):
            run = list(group)
            if is_low and (one.is_gap or len(run) >= _ANCHOR_WORDS):
                text = " ".join(word.text for word in run)
                missing.append(WordTiming(text, run[0].start_s, run[-1].end_s, min(word.confidence for word in run)))
            else:
                found += run
    edges_s = [(0.0, 0.0), *((word.start_s, word.end_s) for word in found), (duration_s, duration_s)]
    silent = [(left[1], right[0]) for left, right in pairwise(edges_s) if right[0] - left[1] >= SILENT_S]
    return Alignment(found, missing, silent)
