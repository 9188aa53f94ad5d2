"""How labels are spelled with letters: what a lexicon and hot words see of a label."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from jasper_tf.decoding.gather import gather
from jasper_tf.text.tokenizer import Tokenizer


@dataclass(frozen=True)
class Spelling:
    """The letters of V labels: of word pieces their characters, of characters themselves.

    Attributes:
        letters: the characters, each once; where `of_labels` is None in the order of the labels.
        space: the letter that separates words, or None.
        starts_word: [V+2] bool, the labels with which a word ends and another begins; V and V+1 stand for none.
        of_labels: [V+2,L] int32, the letters of each label without the space in front, padded with the number of
            letters. None: a label is a letter.
    """

    letters: tuple[str, ...]
    space: int | None
    starts_word: np.ndarray
    of_labels: np.ndarray | None

    @classmethod
    def of(cls, tokenizer: Tokenizer) -> Spelling:
        """The spelling of a tokenizer's labels."""
        starts_word = np.append(tokenizer.starts_word, [False, False])
        if all(len(piece) == 1 for piece in tokenizer.pieces):
            space = tokenizer.pieces.index(" ") if " " in tokenizer.pieces else None
            return cls(tokenizer.pieces, space, starts_word, None)
        letters = (*sorted(tokenizer.characters - {" "}), " ")
        codes = {letter: at for at, letter in enumerate(letters)}
        of_labels = np.full((len(tokenizer) + 2, max(map(len, tokenizer.word_pieces))), len(letters), np.int32)
        for row, piece in zip(of_labels, tokenizer.word_pieces, strict=False):
            row[: len(piece)] = [codes[letter] for letter in piece]
        return cls(letters, len(letters) - 1, starts_word, of_labels)

    def walk(self, children: Any, place: Any, labels: Any) -> Any:
        """Where a trie is after the letters of labels.

        Args:
            children: [n (letters+2)] int32, the place after each letter, in each place; a place is the number of a node
                times letters + 2.
            place: [...] int32, before.
            labels: [...] int32.
        """
        assert self.of_labels is not None
        for letters in self.of_labels.T:
            place = gather(children, place + gather(letters, labels))
        return place
