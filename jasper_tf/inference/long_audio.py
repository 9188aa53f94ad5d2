"""Long recordings: cut with overlap, recognized in pieces, and joined."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from jasper_tf.audio.load import MAX_PART_S
from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.errors import UserError
from jasper_tf.inference.recording import Recording
from jasper_tf.inference.segments import Segmentation, segment_words
from jasper_tf.inference.transcript import Transcript

SAME_WORD_S = 0.3
"""Largest distance between the times of one word in two pieces, whose frames and context differ."""

_MOST_PIECES = 100_000
"""A manifest or a header can state any length; beyond this number the recording is read whole, which is an error."""


@dataclass(frozen=True)
class Chunking:
    """Which recordings are cut, and how.

    A recording of up to `chunk_s` is not cut. Statistics over the whole recording (`normalize: per_feature`,
    squeeze-and-excite without `se_context_size`) become those of a piece, which can change a word. On AN4 the error
    rate stays the same (tests/inference/test_long_audio.py).

    Args:
        chunk_s: longest piece, seconds; 0: never cut. Utterances of speech corpora are shorter than the default.
        overlap_s: least overlap of neighboring pieces, seconds; less than half of `chunk_s`.

    Raises:
        UserError: a value is out of range.
    """

    chunk_s: float = 40.0
    overlap_s: float = 4.0

    def __post_init__(self) -> None:
        if self.chunk_s != 0 and not 0.1 <= self.chunk_s <= MAX_PART_S:
            raise UserError(f"--chunk-s {self.chunk_s:g}: must be 0 (never cut), or from 0.1 to {MAX_PART_S} seconds")
        if not 0 <= self.overlap_s < math.inf:
            raise UserError(f"--overlap-s {self.overlap_s:g}: must be a number of seconds, 0 or more")
        if self.chunk_s and not 2 * self.overlap_s < self.chunk_s:
            raise UserError(f"--overlap-s {self.overlap_s:g}: must be less than half of --chunk-s {self.chunk_s:g}")

    def parts(self, samples: int, sample_rate: int) -> list[tuple[int, int]]:
        """Returns (start, end) of the pieces of a recording, in samples; one for a recording that is not cut."""
        longest, overlap = round(self.chunk_s * sample_rate), round(self.overlap_s * sample_rate)
        if not longest or samples > _MOST_PIECES * (longest - overlap):
            return [(0, samples)]
        return pieces(samples, longest, overlap)


def pieces(samples: int, longest: int, overlap: int) -> list[tuple[int, int]]:
    """Returns (start, end) of the fewest pieces of at most `longest` samples that overlap by at least `overlap`.

    All have the same length (to a sample), so that each has context.

    Args:
        samples: of the recording, 1 or more.
        longest: samples of a piece; more than twice `overlap`.
        overlap: least overlap of neighboring pieces, samples.
    """
    if samples <= longest:
        return [(0, samples)]
    count = -(-(samples - overlap) // (longest - overlap))
    length = -(-(samples + (count - 1) * overlap) // count)
    starts = [round(k * (samples - length) / (count - 1)) for k in range(count)]
    return [(start, start + length) for start in starts]


def join_overlapping(left: Sequence[WordTiming], right: Sequence[WordTiming], middle_s: float) -> list[WordTiming]:
    """Joins the words of two overlapping pieces; all times count from the recording's beginning.

    Near the edge of a piece words lack context or are cut, so the seam is near the middle of the overlap: at the word
    there that both pieces contain (the same text, the centers within `SAME_WORD_S`, each the other's nearest). The left
    piece's words up to it are kept, then the right one's. Without a common word, those of the left piece centered
    before the middle are kept, and those of the right one from there on.

    Args:
        left, right: in temporal order.
        middle_s: the middle of the overlap.
    """
    shared = [
        (abs(_center_s(a) - middle_s), i, j)
        for i, a in enumerate(left)
        if (j := _nearest(a, right)) is not None and _nearest(right[j], left) == i
    ]
    if shared:
        _, i, j = min(shared)
        return [*left[: i + 1], *right[j + 1 :]]
    return [
        *(word for word in left if _center_s(word) < middle_s),
        *(word for word in right if _center_s(word) >= middle_s),
    ]


def join_transcripts(
    parts: Sequence[tuple[int, int]],
    found: Sequence[Transcript],
    sample_rate: int,
    segmentation: Segmentation | None = None,
) -> Transcript:
    """Joins the transcripts of a recording's parts, and cuts the words into segments.

    Of several parts the best texts are joined, without the n-best: K texts each of P parts are K^P texts.

    Args:
        parts: of `pieces`, (start, end) in samples.
        found: the transcript of each part, with words if there are several.
        sample_rate: Hz.
        segmentation: where to cut. Default: `Segmentation()`.

    Raises:
        UserError: there are several parts, and one has no word times.
    """
    duration_s = parts[-1][1] / sample_rate
    if len(parts) == 1:
        words = found[0].words
        segments = None if words is None else segment_words(words, segmentation)
        return replace(found[0], segments=segments, duration_s=duration_s)
    joined: list[WordTiming] = []
    confidence = weight = 0.0
    for k, ((start, _), one) in enumerate(zip(parts, found, strict=True)):
        if one.words is None:
            raise UserError(
                "is longer than --chunk-s, and the model gives no word times to join the pieces by; "
                "serve an export without --batchable, or raise --chunk-s"
            )
        shift_s = start / sample_rate
        shifted = [replace(word, start_s=word.start_s + shift_s, end_s=word.end_s + shift_s) for word in one.words]
        middle_s = (start + parts[k - 1][1]) / 2 / sample_rate
        # Earlier words cannot be the same; comparing all of them would take quadratic time.
        near = len(joined)
        while near and _center_s(joined[near - 1]) >= shift_s - SAME_WORD_S:
            near -= 1
        joined[near:] = join_overlapping(joined[near:], shifted, middle_s) if k else shifted
        confidence += len(one.text) * (one.confidence or 0.0)
        weight += len(one.text)
    text = " ".join(word.text for word in joined)
    segments = segment_words(joined, segmentation)
    return Transcript(text, confidence / max(weight, 1.0), tuple(joined), segments, duration_s)


def recognize_long(
    recognize: Callable[[np.ndarray, bool], Transcript],
    recording: Recording,
    sample_rate: int,
    chunking: Chunking,
    words: bool = True,
) -> Transcript:
    """Transcribes a recording of any length piece by piece; at most one piece is in memory.

    Args:
        recognize: (audio [S] float32, whether words are needed) -> Transcript, such as a client's `recognize`.
        recording: opened at `sample_rate`.
        sample_rate: Hz.
        chunking: where to cut.
        words: whether the transcript needs words; pieces are always requested with words.

    Raises:
        UserError: it cannot be read, or it must be cut and the model gives no word times.
    """
    parts = chunking.parts(recording.samples, sample_rate)
    if len(parts) == 1:
        audio = recording.whole()
        return join_transcripts([(0, len(audio))], [recognize(audio, words)], sample_rate)
    return join_transcripts(parts, [recognize(recording.part(*part), True) for part in parts], sample_rate)


def _nearest(word: WordTiming, others: Sequence[WordTiming]) -> int | None:
    """Index of the nearest occurrence of the same word; None if it is further than `SAME_WORD_S`."""
    apart_s = {k: abs(_center_s(x) - _center_s(word)) for k, x in enumerate(others) if x.text == word.text}
    nearest = min(apart_s, key=apart_s.__getitem__, default=None)
    return nearest if nearest is not None and apart_s[nearest] <= SAME_WORD_S else None


def _center_s(word: WordTiming) -> float:
    return (word.start_s + word.end_s) / 2
