"""Timings of labels and words, from a hypothesis or by forced alignment of a known text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.text.tokenizer import Tokenizer

if TYPE_CHECKING:  # the server's client uses WordTiming and starts without Keras
    from jasper_tf.decoding.decoder import Hypotheses


@dataclass(frozen=True)
class WordTiming:
    """A word or label with its start and end in seconds and its confidence (0 to 1)."""

    text: str
    start_s: float
    end_s: float
    confidence: float


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


def join_words(labels: Sequence[WordTiming]) -> list[WordTiming]:
    """Joins labels to words at spaces; the confidence of a word is the lowest of its labels (NeMo: "min")."""
    words: list[list[WordTiming]] = [[]]
    for label in labels:
        if label.text.startswith(" "):
            words.append([])
        if label.text != " ":
            words[-1].append(label)
    return [
        WordTiming(
            "".join(label.text for label in word).removeprefix(" "),
            word[0].start_s,
            word[-1].end_s,
            min(label.confidence for label in word),
        )
        for word in words
        if word
    ]


def force_align(log_probs: np.ndarray, text: str, tokenizer: Tokenizer, frame_s: float) -> list[WordTiming]:
    """Aligns `text` by the most probable CTC path (Viterbi over blank, l1, blank, l2, ..., blank), in float64.

    Args:
        log_probs: [T',V+1] log-probabilities of one utterance, cut to its length; the blank is the last class.
        text: the transcript.
        tokenizer: of the model.
        frame_s: seconds of one frame.

    Returns:
        One WordTiming per label of `text`, spaces included; its confidence is its mean posterior over its frames.

    Raises:
        UserError: a character is out of vocabulary, or the frames are too few for the text.
    """
    if unknown := sorted(set(tokenizer.out_of_vocabulary(text))):
        raise UserError(f"cannot align {text!r}: not among the labels: {' '.join(map(repr, unknown))}")
    ids = tokenizer.encode(text)
    log_probs = np.asarray(log_probs, dtype=np.float64)
    frames, needed = len(log_probs), len(ids) + int(np.sum(ids[1:] == ids[:-1]))
    if frames < needed:
        raise UserError(f"cannot align {text!r}: it needs {needed} frames, the sound has {frames}")
    if not len(ids):
        return []

    states = np.full(2 * len(ids) + 1, len(tokenizer))
    states[1::2] = ids
    # The blank is optional between different labels, required between equal ones.
    may_skip = np.zeros(len(states), dtype=bool)
    may_skip[3::2] = ids[1:] != ids[:-1]

    score = np.full(len(states), -np.inf)
    score[:2] = log_probs[0, states[:2]]
    came_from = np.zeros((frames, len(states)), dtype=np.int64)
    for t in range(1, frames):
        stay = score
        step = np.concatenate([[-np.inf], score[:-1]])
        skip = np.where(may_skip, np.concatenate([[-np.inf, -np.inf], score[:-2]]), -np.inf)
        candidates = np.stack([stay, step, skip])
        came_from[t] = np.argmax(candidates, axis=0)
        score = np.max(candidates, axis=0) + log_probs[t, states]

    path = np.empty(frames, dtype=np.int64)
    path[-1] = len(states) - 1 if score[-1] >= score[-2] else len(states) - 2
    for t in range(frames - 1, 0, -1):
        path[t - 1] = path[t] - came_from[t, path[t]]

    aligned = []
    for k, label in enumerate(ids):
        at = np.flatnonzero(path == 2 * k + 1)
        confidence = float(np.mean(np.exp(log_probs[at, label])))
        piece, start_s, end_s = tokenizer.pieces[label], float(at[0] * frame_s), float((at[-1] + 1) * frame_s)
        aligned.append(WordTiming(piece, start_s, end_s, confidence))
    return aligned
