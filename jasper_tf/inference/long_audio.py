"""Recordings longer than one request: cut with overlap, recognised piece by piece, joined."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from jasper_tf.decoding.alignment import TimedText
from jasper_tf.errors import UserError
from jasper_tf.serving.client.recognition import Recognition

SAME_WORD_S = 0.3
"""The same word heard in two pieces lies at most this much apart: the pieces' frames differ, and their context."""


def pieces(samples: int, longest: int, overlap: int) -> list[tuple[int, int]]:
    """Where to cut: (start, end) of the fewest pieces of at most `longest` samples that overlap by `overlap` or more.

    All are of one length (to a sample), so that none is a scrap without context.

    Args:
        samples: of the recording, 1 or more.
        longest: samples of a piece; more than twice `overlap`.
        overlap: samples that neighbours share.
    """
    if samples <= longest:
        return [(0, samples)]
    count = -(-(samples - overlap) // (longest - overlap))
    length = -(-(samples + (count - 1) * overlap) // count)
    starts = [round(k * (samples - length) / (count - 1)) for k in range(count)]
    return [(start, start + length) for start in starts]


def join_overlapping(left: Sequence[TimedText], right: Sequence[TimedText], middle_s: float) -> list[TimedText]:
    """The words of two overlapping pieces as those of one, all times from the recording's beginning.

    Near the edge of a piece a word lacks its context or its end, so the seam belongs near the middle of the overlap: at
    the word there that both pieces hold (the same text, the centres within `SAME_WORD_S`, each the other's nearest).
    The left piece's words up to it stay, then the right one's. Where they share none, the left one's centred before the
    middle stay and the right one's from there on.

    Args:
        left, right: in the order of time.
        middle_s: the middle of the overlap.
    """
    shared = [
        (abs(_centre_s(a) - middle_s), i, j)
        for i, a in enumerate(left)
        if (j := _nearest(a, right)) is not None and _nearest(right[j], left) == i
    ]
    if shared:
        _, i, j = min(shared)
        return [*left[: i + 1], *right[j + 1 :]]
    return [
        *(word for word in left if _centre_s(word) < middle_s),
        *(word for word in right if _centre_s(word) >= middle_s),
    ]


def recognize_long(
    recognize: Callable[[np.ndarray, bool], Recognition],
    audio: np.ndarray,
    sample_rate: int,
    chunk_s: float,
    overlap_s: float,
    words: bool = True,
) -> Recognition:
    """Audio [S] of any length to its Recognition, in requests of at most `chunk_s`.

    A recording of up to `chunk_s` is one request, and its answer stays as it is. What looks at the whole recording
    (`normalize: per_feature`, squeeze-and-excite without `se_context_size`) sees each piece by itself: a word may come
    out otherwise than in one request. On AN4 the error rate stays the same (tests/inference/test_long_audio.py).

    Args:
        recognize: audio [S], whether words are needed -> Recognition; a client's.
        audio: float32.
        sample_rate: Hz.
        chunk_s: longest piece, seconds; 0: never cut.
        overlap_s: what neighbours share at least, seconds; less than half of `chunk_s`.
        words: whether the answer needs them; cutting always asks for them.

    Raises:
        UserError: it must be cut, but the model does not say when its words were said.
    """
    longest = round(chunk_s * sample_rate) or len(audio)
    parts = pieces(len(audio), longest, round(overlap_s * sample_rate))
    if len(parts) == 1:
        return recognize(audio, words)
    joined: list[TimedText] = []
    confidence = weight = 0.0
    for k, (start, end) in enumerate(parts):
        found = recognize(audio[start:end], True)
        if found.words is None:
            raise UserError(
                f"is longer than --chunk-s {chunk_s:g}, and the model gives no times of words to join the pieces by; "
                "serve an export without --batchable, or raise --chunk-s and --max-message-mb"
            )
        shift_s = start / sample_rate
        heard = [replace(word, start_s=word.start_s + shift_s, end_s=word.end_s + shift_s) for word in found.words]
        middle_s = (start + parts[k - 1][1]) / 2 / sample_rate
        joined = join_overlapping(joined, heard, middle_s) if k else heard
        confidence += len(found.text) * (found.confidence or 0.0)
        weight += len(found.text)
    return Recognition(" ".join(word.text for word in joined), confidence / max(weight, 1.0), tuple(joined))


def _nearest(word: TimedText, others: Sequence[TimedText]) -> int | None:
    """Where among the others the same word lies; of one said twice, the nearer one. None: nowhere near."""
    apart_s = {k: abs(_centre_s(x) - _centre_s(word)) for k, x in enumerate(others) if x.text == word.text}
    nearest = min(apart_s, key=apart_s.__getitem__, default=None)
    return nearest if nearest is not None and apart_s[nearest] <= SAME_WORD_S else None


def _centre_s(word: TimedText) -> float:
    return (word.start_s + word.end_s) / 2
