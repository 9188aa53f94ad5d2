"""When each letter and word was said: from greedy labels, or by forced alignment of a known text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from jasper_tf.errors import UserError

if TYPE_CHECKING:
    # The client of a server uses TimedText and must not wait for Keras.
    from jasper_tf.decoding.greedy import GreedyLabels


@dataclass(frozen=True)
class TimedText:
    """A letter or a word, from start_s to end_s (seconds from the beginning), with a confidence of 0 to 1."""

    text: str
    start_s: float
    end_s: float
    confidence: float


def greedy_letters(greedy: GreedyLabels, labels: Sequence[str], frame_s: float) -> list[list[TimedText]]:
    """The letters of each utterance with their times.

    CTC peaks: a letter lasts only the frames in which it is the best class, usually less than its sound does.

    Args:
        greedy: what `greedy_decode` returned for B utterances.
        labels: the V texts of the classes.
        frame_s: seconds of one frame of the logits.
    """
    columns = zip(*(np.asarray(column) for column in greedy), strict=True)
    return [
        [
            TimedText(labels[ids[k]], float(start[k] * frame_s), float(end[k] * frame_s), float(confidence[k]))
            for k in range(ids_len)
        ]
        for ids, ids_len, start, end, confidence in columns
    ]


def join_words(letters: Sequence[TimedText]) -> list[TimedText]:
    """Words out of letters: spaces separate; a word's confidence is that of its least certain letter (NeMo: "min")."""
    words: list[list[TimedText]] = [[]]
    for letter in letters:
        if letter.text == " ":
            words.append([])
        else:
            words[-1].append(letter)
    return [
        TimedText("".join(x.text for x in word), word[0].start_s, word[-1].end_s, min(x.confidence for x in word))
        for word in words
        if word
    ]


def force_align(log_probs: np.ndarray, text: str, labels: Sequence[str], frame_s: float) -> list[TimedText]:
    """The most probable CTC path that spells `text` (Viterbi over blank, l1, blank, l2, ..., blank), in float64.

    Args:
        log_probs: [T',V+1] log-probabilities of one utterance, cut to its length; the blank is the last class.
        text: what was said; every character one of the labels.
        labels: the V texts of the classes, one character each.
        frame_s: seconds of one frame.

    Returns:
        One TimedText per character of `text`, spaces included; its confidence is its mean posterior over its frames.

    Raises:
        UserError: a character is not among the labels, or the frames are too few for the text.
    """
    index = {label: i for i, label in enumerate(labels)}
    unknown = sorted(set(text) - set(index))
    if unknown:
        raise UserError(f"cannot align {text!r}: not among the labels: {' '.join(map(repr, unknown))}")
    ids = np.array([index[character] for character in text], dtype=np.int64)
    log_probs = np.asarray(log_probs, dtype=np.float64)
    frames, needed = len(log_probs), len(ids) + int(np.sum(ids[1:] == ids[:-1]))
    if frames < needed:
        raise UserError(f"cannot align {text!r}: it needs {needed} frames, the sound has {frames}")
    if not len(ids):
        return []

    states = np.full(2 * len(ids) + 1, len(labels))
    states[1::2] = ids
    # A blank may be left out between two different labels, never between two equal ones.
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

    letters = []
    for k, character in enumerate(text):
        at = np.flatnonzero(path == 2 * k + 1)
        confidence = float(np.mean(np.exp(log_probs[at, ids[k]])))
        letters.append(TimedText(character, float(at[0] * frame_s), float((at[-1] + 1) * frame_s), confidence))
    return letters
