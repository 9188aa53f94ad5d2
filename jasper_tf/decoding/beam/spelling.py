"""How labels are spelled with letters: what a lexicon and hot words see of a label."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from jasper_tf.decoding.ops.gather import gather, hash_type
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

    def hashes(self, multiplier: int) -> TextHashes:
        """What the texts of labels are told apart by."""
        assert self.of_labels is not None and self.space is not None
        lengths = np.sum(self.of_labels < len(self.letters), axis=1)
        powers: list[int] = []
        values: list[int] = []
        for behind_space in (False, True):
            for letters, length, starts in zip(self.of_labels, lengths, self.starts_word, strict=True):
                spaced = [self.space] * bool(length and (starts or behind_space))
                codes = [*spaced, *letters[:length].tolist()]
                powers.append(multiplier ** len(codes))
                values.append(functools.reduce(lambda value, code: value * multiplier + 1 + code, codes, 0))
        ends_in_space = self.starts_word & (lengths == 0)
        ends_in_space[-1] = True  # the beginning
        behind = np.where(ends_in_space, len(lengths), 0).astype(np.int32)
        return TextHashes(_wrapped(powers), _wrapped(values), behind)


def _wrapped(numbers: list[int]) -> np.ndarray:
    """Numbers as products of the hash's integers wrap around."""
    unsigned = np.dtype(f"u{hash_type()}")
    return np.array([number % 2 ** (8 * unsigned.itemsize) for number in numbers], unsigned).view(hash_type())


class TextHashes(NamedTuple):
    """Hashes of texts that are spelled with labels: a label behind hash h gives h powers[i] + values[i].

    Of spaces only those count that separate words, as for the models of the text.

    powers, values: [2 (V+2)], of each label, then of each label behind a space.
    behind: [V+2] int32, V+2 for the labels that end in a space, else 0: i is the label plus what the last label has.
    """

    powers: Any
    values: Any
    behind: Any

    def extend(self, hashes: Any, last: Any, labels: Any) -> Any:
        """The hashes of texts with one more label; all [...] that broadcast."""
        at = labels + gather(self.behind, last)
        return hashes * gather(self.powers, at) + gather(self.values, at)
