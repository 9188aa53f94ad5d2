"""Transcript of one recording, and how it is read from a model's outputs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jasper_tf.decoding.alignment import WordTiming

_LEAST_SCORE = -1e29
"""Of a text: see `text_outputs`."""


@dataclass(frozen=True)
class ScoredText:
    """One of the n best texts of a recording with its score, a natural logarithm (see `BeamDecoder`)."""

    text: str
    score: float


@dataclass(frozen=True)
class Transcript:
    """Transcript of one recording; `str()` gives the text.

    Attributes:
        text: the words, separated by spaces.
        confidence: 0 to 1; None if it is not known.
        words: with times (seconds from the recording's beginning) and confidences; None if they are not known.
        segments: the words between two pauses each (`segment_words`), with times; None if words are not known.
        duration_s: of the recording, seconds; None if it is not known.
        n_best: the best texts, the first is `text`; None if the decoder returns one, or the recording was cut.
    """

    text: str
    confidence: float | None = None
    words: tuple[WordTiming, ...] | None = None
    segments: tuple[WordTiming, ...] | None = None
    duration_s: float | None = None
    n_best: tuple[ScoredText, ...] | None = None

    def __str__(self) -> str:
        return self.text

    def as_json(self, words: bool = True) -> dict[str, Any]:
        """Values for JSON: text, and what is known of the others, `words` if wanted; seconds rounded to 0.1 ms."""
        found: dict[str, Any] = {"text": self.text}
        if self.confidence is not None:
            found["confidence"] = round(self.confidence, 4)
        if self.duration_s is not None:
            found["duration_s"] = round(self.duration_s, 4)
        for name, timings in (("segments", self.segments), ("words", self.words if words else None)):
            if timings is not None:
                found[name] = word_rows(timings)
        if self.n_best is not None:
            found["n_best"] = n_best_rows(self.n_best)
        return found


def word_rows(timings: Iterable[WordTiming]) -> list[dict[str, Any]]:
    """Words or segments as values for JSON, numbers rounded to four places."""
    return [{key: value if key == "text" else round(value, 4) for key, value in asdict(one).items()} for one in timings]


def n_best_rows(n_best: Iterable[ScoredText]) -> list[dict[str, Any]]:
    """Scored texts as values for JSON, scores rounded to four places."""
    return [{"text": one.text, "score": round(one.score, 4)} for one in n_best]


def read_outputs(outputs: Mapping[str, np.ndarray]) -> list[Transcript]:
    """Converts the outputs of `JasperCTC.recognize_batch`, or of a served signature, to B transcripts.

    Args:
        outputs: text [B] (UTF-8 bytes or str); optionally confidence [B]; optionally words [W], words_start_s,
            words_end_s, words_confidence [W] and words_row_lengths [B], whose sum is W; optionally n_best_text and
            n_best_score [B,K].

    Raises:
        KeyError, TypeError, ValueError: an output is missing or of a wrong type, or lengths do not agree.
    """
    texts = [_text(text) for text in outputs["text"]]
    confidence = [float(c) for c in outputs["confidence"]] if "confidence" in outputs else [None] * len(texts)
    words: list[tuple[WordTiming, ...] | None] = [None] * len(texts)
    if "words_row_lengths" in outputs:
        columns = (outputs[f"words_{name}"] for name in ("start_s", "end_s", "confidence"))
        flat = [
            WordTiming(_text(word), float(start_s), float(end_s), float(certain))
            for word, start_s, end_s, certain in zip(outputs["words"], *columns, strict=True)
        ]
        ends = np.cumsum(outputs["words_row_lengths"], dtype=np.int64)
        if len(flat) != (ends[-1] if len(ends) else 0):
            raise ValueError(f"{len(flat)} words, but row lengths for {ends[-1]}")
        words = [tuple(flat[end - size : end]) for end, size in zip(ends, outputs["words_row_lengths"], strict=True)]
    n_best: list[tuple[ScoredText, ...] | None] = [None] * len(texts)
    if "n_best_text" in outputs:
        rows = zip(outputs["n_best_text"], outputs["n_best_score"], strict=True)
        n_best = [
            tuple(
                ScoredText(_text(text), float(score)) for text, score in zip(*row, strict=True) if score > _LEAST_SCORE
            )
            for row in rows
        ]
    return [
        Transcript(text, certain, of_text, n_best=best)
        for text, certain, of_text, best in zip(texts, confidence, words, n_best, strict=True)
    ]


def _text(text: bytes | str) -> str:
    return text.decode("utf-8") if isinstance(text, bytes) else str(text)
