"""Forced alignment of known texts: words and labels with times and scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from jasper_tf.decoding.alignment import WordTiming, split_words, word_text
from jasper_tf.decoding.forced_alignment import align
from jasper_tf.errors import UserError
from jasper_tf.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class AlignedLabel(WordTiming):
    """A label with its times.

    Attributes:
        confidence: its mean posterior over its frames.
        score: its mean log-posterior over its frames; 0 is certain.
    """

    score: float


@dataclass(frozen=True)
class AlignedWord(AlignedLabel):
    """A word with its times; confidence is the lowest of its labels, score the mean over the frames of all of them."""

    labels: tuple[AlignedLabel, ...]

    def shifted(self, by_s: float) -> AlignedWord:
        """The same word `by_s` seconds later."""
        labels = [replace(one, start_s=one.start_s + by_s, end_s=one.end_s + by_s) for one in self.labels]
        return replace(self, start_s=self.start_s + by_s, end_s=self.end_s + by_s, labels=tuple(labels))


class TextAligner:
    """Aligns texts by the most probable CTC path (`decoding.forced_alignment.align`), in one graph for all sizes.

    Args:
        tokenizer: of the model.
        frame_s: seconds of one frame.
    """

    def __init__(self, tokenizer: Tokenizer, frame_s: float):
        self.tokenizer = tokenizer
        self.frame_s = frame_s
        self._align = tf.function(
            align,
            input_signature=[
                tf.TensorSpec((None, None, len(tokenizer) + 1)),
                tf.TensorSpec((None,), tf.int32),
                tf.TensorSpec((None, None), tf.int32),
                tf.TensorSpec((None,), tf.int32),
            ],
        )

    def align(self, log_probs: Sequence[np.ndarray], texts: Sequence[str]) -> list[list[AlignedWord] | UserError]:
        """Aligns each text with its frames.

        Args:
            log_probs: [T'_i,V+1] each; the blank is the last class.
            texts: the transcripts.

        Returns:
            For each text its words, or why it cannot be aligned: a character is out of vocabulary, or the frames are
            too few.
        """
        found: list[list[AlignedWord] | UserError] = []
        for text in texts:
            try:
                self.require_labels(text)
                found.append([])
            except UserError as error:
                found.append(error)
        rows = [i for i, text in enumerate(texts) if text and not isinstance(found[i], UserError)]
        if not rows:
            return found
        ids = [self.tokenizer.encode(texts[i]) for i in rows]
        frames = np.array([len(log_probs[i]) for i in rows], np.int32)
        sizes = np.array([*map(len, ids)], np.int32)
        padded = np.zeros((len(rows), max(frames), len(self.tokenizer) + 1), np.float32)
        labels = np.full((len(rows), max(sizes)), -1, np.int32)
        for row, i in enumerate(rows):
            padded[row, : frames[row]] = log_probs[i]
            labels[row, : sizes[row]] = ids[row]
        columns = [np.asarray(column) for column in self._align(padded, frames, labels, sizes)]
        for row, i in enumerate(rows):
            start, end, score, label_score, confidence = (column[row] for column in columns)
            if score == -np.inf:
                found[i] = self._impossible(ids[row], int(frames[row]))
                continue
            timed = [
                AlignedLabel(
                    self.tokenizer.pieces[label],
                    float(start[k] * self.frame_s),
                    float(end[k] * self.frame_s),
                    float(confidence[k]),
                    float(label_score[k]),
                )
                for k, label in enumerate(ids[row])
            ]
            found[i] = [_join(word) for word in split_words(timed)]
        return found

    def require_labels(self, text: str) -> None:
        """Raises a UserError that names the characters of `text` that are not among the labels."""
        unknown = sorted(set(self.tokenizer.out_of_vocabulary(text)))
        if unknown:
            shown = " ".join(map(repr, unknown))
            raise UserError(f"not among the model's labels: {shown}; normalize the text (see prepare)")

    def _impossible(self, ids: np.ndarray, frames: int) -> UserError:
        needed = len(ids) + int(np.sum(ids[1:] == ids[:-1]))
        if frames >= needed:
            return UserError("the model gives a label of the text the probability 0")
        return UserError(f"the text needs {needed} frames, the sound has {frames}; compare text and recording")


def _join(labels: Sequence[AlignedLabel]) -> AlignedWord:
    weight = [label.end_s - label.start_s for label in labels]
    score = float(np.average([label.score for label in labels], weights=weight))
    certain = min(label.confidence for label in labels)
    return AlignedWord(word_text(labels), labels[0].start_s, labels[-1].end_s, certain, score, tuple(labels))
