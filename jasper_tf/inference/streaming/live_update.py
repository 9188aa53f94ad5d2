"""What is known of a stream at one moment: final words, or those that may still change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.inference.segments import mean_confidence
from jasper_tf.inference.transcript import ScoredText, n_best_rows, word_rows


@dataclass(frozen=True)
class LiveUpdate:
    """The next words of a stream.

    Attributes:
        kind: "final": follows the final words before it, and nothing of it ever changes; "partial": the words behind
            the final ones as they seem now, in place of the partial text before.
        text: the words, separated by spaces. A partial text may be empty, and so may be a final one with `endpoint`.
        words: with times, seconds from the stream's beginning, and confidences.
        start_s, end_s: of the words; without any, of the moment.
        confidence: the mean of the words', each weighted by its characters, 0 to 1; 0 without any.
        heard_s: how much audio was heard until then, seconds.
        endpoint: whether the speaker paused here, or the stream ended: a line or sentence ends. Only with "final".
        n_best: the best texts of this line, the first is what its final words say; None without `endpoint`, if the
            decoder returns one, or if the line is longer than some minutes or was cut.
    """

    kind: Literal["partial", "final"]
    text: str
    words: tuple[WordTiming, ...]
    start_s: float
    end_s: float
    confidence: float
    heard_s: float
    endpoint: bool = False
    n_best: tuple[ScoredText, ...] | None = None

    @classmethod
    def of_words(
        cls,
        kind: Literal["partial", "final"],
        words: Sequence[WordTiming],
        heard_s: float,
        endpoint: bool = False,
        n_best: tuple[ScoredText, ...] | None = None,
    ) -> LiveUpdate:
        """The update of these words."""
        text = " ".join(word.text for word in words)
        start_s, end_s = (words[0].start_s, words[-1].end_s) if words else (heard_s, heard_s)
        return cls(kind, text, tuple(words), start_s, end_s, mean_confidence(words), heard_s, endpoint, n_best)

    def as_json(self, words: bool = True) -> dict[str, Any]:
        """Values for JSON; seconds and confidences rounded to four places, `words` if wanted."""
        found: dict[str, Any] = {"type": self.kind, "text": self.text}
        found |= {key: round(getattr(self, key), 4) for key in ("start_s", "end_s", "confidence", "heard_s")}
        found["endpoint"] = self.endpoint
        if self.n_best is not None:
            found["n_best"] = n_best_rows(self.n_best)
        return found | {"words": word_rows(self.words)} if words else found
