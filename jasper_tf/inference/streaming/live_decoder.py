"""Decodes a stream of frames word by word."""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np

from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.decoding.decoder import Hypotheses
from jasper_tf.decoding.words import group_words
from jasper_tf.text.tokenizer import Tokenizer


class LiveDecoder(ABC):
    """Turns frames into words as they come, and keeps no more than the frames of the words that are not final.

    A word is final when the label behind it is that begins the next one, a space for example.

    Args:
        tokenizer: of the model.
        frame_s: seconds of a frame.
        aggregation: of the confidences of a word's labels: the decoder's `word_aggregation`.
    """

    _kept = 0
    """Frames that are kept where there is no word."""

    def __init__(self, tokenizer: Tokenizer, frame_s: float, aggregation: str):
        self.tokenizer, self.frame_s, self.aggregation = tokenizer, frame_s, aggregation
        self._frames = np.zeros((0, len(tokenizer) + 1), np.float32)
        self._first = 0  # of `_frames`, in frames of the stream

    @property
    def open_s(self) -> float:
        """Seconds of the frames that are kept."""
        return len(self._frames) * self.frame_s

    def push(self, log_probs: np.ndarray) -> list[WordTiming]:
        """Decodes the next frames [T',V+1] -> the words that are final now and were not before."""
        self._frames = np.concatenate([self._frames, log_probs])
        best, decided = self._advance(log_probs)
        labels, words, word_of_label = self._read(best)
        begins = np.flatnonzero(self.tokenizer.starts_word[labels[:decided]])
        boundary = int(begins[-1]) if len(begins) else 0
        closed = int(word_of_label[:boundary].max(initial=-1)) + 1
        if closed < len(words):
            self._drop(int(best.start_frame[0, boundary]), boundary)
        else:
            self._drop(max(0, len(self._frames) - self._kept), len(labels))
        return words[:closed]

    def look_ahead(self, log_probs: np.ndarray) -> list[WordTiming]:
        """The words that are not final, with those of provisional frames [T',V+1] that follow."""
        return self._read(self._peek(log_probs))[1]

    def finish(self) -> list[WordTiming]:
        """Ends the text: its words that are not final yet. The next frames begin another one."""
        words = self._read(self._end())[1]
        self._drop(len(self._frames), 0)
        return words

    @abstractmethod
    def _advance(self, log_probs: np.ndarray) -> tuple[Hypotheses, int]:
        """Takes the next frames: the best hypothesis of `_frames`, [1,U], and how many of its labels are decided."""

    @abstractmethod
    def _peek(self, log_probs: np.ndarray) -> Hypotheses:
        """The best hypothesis of `_frames` and these."""

    @abstractmethod
    def _end(self) -> Hypotheses:
        """The best hypothesis of `_frames` as a whole text; then starts anew."""

    def _drop(self, frames: int, labels: int) -> None:
        """Forgets the first frames, and the first labels of the best hypothesis, which lie there."""
        self._frames = self._frames[frames:]
        self._first += frames

    def _read(self, best: Hypotheses) -> tuple[np.ndarray, list[WordTiming], np.ndarray]:
        """The labels [U], the words, and the number of the word of each label [U], -1 for none."""
        count = int(best.label_len[0])
        labels = np.asarray(best.labels)[0, :count]
        words = group_words(best, self.tokenizer, self.aggregation)
        word_of_label = np.asarray(words.word_of_label)[0, :count]
        size = int(words.words_len[0])
        columns = (np.asarray(column)[0, :size] for column in words[1:4])
        texts = [""] * size
        for label, word in zip(labels.tolist(), word_of_label.tolist(), strict=True):
            if word >= 0:
                texts[word] += self.tokenizer.word_pieces[label]
        found = [
            WordTiming(text, self._second(start), self._second(end), float(confidence))
            for text, start, end, confidence in zip(texts, *columns, strict=True)
        ]
        return labels, found, word_of_label

    def _second(self, frame: int) -> float:
        return (self._first + int(frame)) * self.frame_s
