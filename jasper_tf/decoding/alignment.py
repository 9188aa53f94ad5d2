"""Timings of labels and words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class WordTiming:
    """A word or label with its start and end in seconds and its confidence (0 to 1)."""

    text: str
    start_s: float
    end_s: float
    confidence: float


Timing = TypeVar("Timing", bound=WordTiming)


def time_labels(best: Hypotheses, tokenizer: Tokenizer, frame_s: float) -> list[list[WordTiming]]:
    """Returns the timings of the labels of each utterance.

    CTC posteriors are peaky: a label lasts for the frames in which it is the best class, usually shorter than spoken.

    Args:
        best: one hypothesis for each of B utterances: `Hypotheses.best()`.
        tokenizer: of the model.
        frame_s: seconds of one frame of the log-probabilities.
    """
    columns = (best.labels, best.label_len, best.start_frame, best.end_frame, best.confidence)
    return [
        [
            WordTiming(
                tokenizer.pieces[ids[k]], float(start[k] * frame_s), float(end[k] * frame_s), float(confidence[k])
            )
            for k in range(ids_len)
        ]
        for ids, ids_len, start, end, confidence in zip(*map(np.asarray, columns), strict=True)
    ]


def split_words(labels: Sequence[Timing]) -> list[list[Timing]]:
    """Splits labels at spaces into the labels of each word; those that add nothing to it belong to none."""
    words: list[list[Timing]] = [[]]
    for label in labels:
        if label.text.startswith(" "):
            words.append([])
        if label.text.strip(" "):
            words[-1].append(label)
        if label.text.endswith(" "):
            words.append([])
    return [word for word in words if word]


def join_words(labels: Sequence[WordTiming], aggregate: Callable[[Iterable[float]], float] = min) -> list[WordTiming]:
    """Joins labels to words at spaces; `aggregate` makes the confidence of a word of its labels' (NeMo: "min")."""
    return [
        WordTiming(word_text(word), word[0].start_s, word[-1].end_s, aggregate([label.confidence for label in word]))
        for word in split_words(labels)
    ]


def word_text(labels: Sequence[WordTiming]) -> str:
    """The text of a word of these labels."""
    return "".join(label.text for label in labels).strip(" ")
