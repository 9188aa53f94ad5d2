"""Word pieces of a WordPiece vocabulary, as BERT's."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jasper_tf.errors import UserError, shorten
from jasper_tf.text.sentencepiece_model import MOST_PIECES
from jasper_tf.text.sentencepiece_tokenizer import VOCABULARY
from jasper_tf.text.tokenizer import Tokenizer

_CONTINUES = "##"
_UNKNOWN = "[UNK]"
_SPECIAL = frozenset({_UNKNOWN, "[SEP]", "[PAD]", "[CLS]", "[MASK]"})
"""Labels that write nothing."""
_NO_SPACE_BEFORE = frozenset({".", ",", "?", "!", "n't", "'m", "'s", "'ve", "'re"})
"""Hugging Face's decoder writes them behind the word before."""
_CHINESE = re.compile(
    "[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002a6df\U0002a700-\U0002b81f\U0002b920-\U0002ceaf"
    "\U0002f800-\U0002fa1f]"
)
"""Characters that are words of their own (BERT)."""
_MOST_LETTERS = 100
"""Of a word; a longer one is unknown (BERT)."""


class WordPieceTokenizer(Tokenizer):
    """Each label is a line of `vocab.txt`, as NeMo uses it with `tokenizer.type: wpe`.

    A text is divided at spaces and punctuation, and each word into the longest pieces from the left: `##` marks those
    that do not begin one. Case is kept (NeMo: bert-base-cased).

    Args:
        vocabulary: the lines.
        name: of the file, for messages.

    Raises:
        UserError: too few or too many lines, one twice, or no `[UNK]`.
    """

    unknown: int

    def __init__(self, vocabulary: Sequence[str], name: str = VOCABULARY):
        lines = list(vocabulary)
        name = shorten(name)
        if not 0 < len(lines) <= MOST_PIECES:
            raise UserError(f"{name}: {len(lines):,} pieces; a vocabulary has 1 to {MOST_PIECES:,}")
        ids = {piece: at for at, piece in enumerate(lines)}
        if len(ids) != len(lines) or "" in ids:
            twice = next((piece for at, piece in enumerate(lines) if ids[piece] != at), "")
            raise UserError(f"{name}: the piece {twice!r} is there twice or empty; not a WordPiece vocabulary")
        if _UNKNOWN not in ids:
            raise UserError(f"{name}: has no {_UNKNOWN}; give the vocab.txt of a WordPiece tokenizer")
        self._lines = tuple(lines)
        self._name = name
        self._ids = ids
        self.unknown = ids[_UNKNOWN]
        self._words: dict[str, list[int]] = {}
        super().__init__([_written(piece) for piece in lines])

    @property
    def vocabulary(self) -> Sequence[str]:
        return self._lines

    def encode(self, text: str) -> np.ndarray:
        ids = self._encode(text)
        if self.unknown in ids:
            unknown = next(iter(self.out_of_vocabulary(text)), text)
            raise UserError(f"{unknown!r} of {text!r} is in no piece of {self._name}; see unknown_characters")
        return np.array(ids, np.int32)

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        return [self._encode(text) for text in texts]

    def _encode(self, text: str) -> list[int]:
        ids: list[int] = []
        for word in _printable(text).split():
            found = self._words.get(word)
            if found is None:
                found = [label for part in _divide(word) for label in self._pieces_of(part)]
                if len(self._words) < MOST_PIECES:
                    self._words[word] = found
            ids += found
        return ids

    def _pieces_of(self, word: str) -> list[int]:
        """Greedy, longest first; one `[UNK]` for a word that cannot be written."""
        ids, unknown = self._longest_pieces(word)
        return [self.unknown] if unknown else ids

    def _longest_pieces(self, word: str) -> tuple[list[int], list[str]]:
        """The labels of a word, and the characters that no piece writes where they stand."""
        if len(word) > _MOST_LETTERS:
            return [], list(word)
        ids: list[int] = []
        unknown: list[str] = []
        start = 0
        while start < len(word):
            prefix = _CONTINUES if ids else ""
            for end in range(len(word), start, -1):
                label = self._ids.get(prefix + word[start:end])
                if label is not None:
                    ids.append(label)
                    start = end
                    break
            else:
                unknown.append(word[start])
                start += 1
        return ids, unknown

    def out_of_vocabulary(self, text: str) -> list[str]:
        if self.unknown not in self._encode(text):
            return []
        parts = [part for word in _printable(text).split() for part in _divide(word)]
        return [character for part in parts for character in self._longest_pieces(part)[1]]

    def decode(self, ids: Iterable[int]) -> str:
        return super().decode(ids).strip(" ")

    def decode_in_graph(self, ids: Any) -> Any:
        import tensorflow as tf  # as in `Tokenizer.decode_in_graph`

        return tf.strings.regex_replace(super().decode_in_graph(ids), "^ +| +$", "")

    def get_config(self) -> dict[str, Any]:
        return {"type": "wpe", "vocabulary": list(self._lines)}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> WordPieceTokenizer:
        """Raises UserError: damaged."""
        vocabulary = config.get("vocabulary")
        if not isinstance(vocabulary, list) or not all(isinstance(piece, str) for piece in vocabulary):
            raise UserError("tokenizer.vocabulary: is not a list of texts; damaged")
        return cls(vocabulary)

    def files(self) -> dict[str, bytes]:
        return {VOCABULARY: "".join(f"{piece}\n" for piece in self._lines).encode()}


def _written(piece: str) -> str:
    if piece in _SPECIAL:
        return ""
    if piece.startswith(_CONTINUES) and len(piece) > len(_CONTINUES):
        return piece.removeprefix(_CONTINUES)
    return piece if piece in _NO_SPACE_BEFORE else f" {piece}"


def _printable(text: str) -> str:
    if text.isprintable():
        return text
    return "".join(c for c in text if c.isspace() or unicodedata.category(c)[0] != "C")


def _divide(word: str) -> list[str]:
    """The parts of a word; punctuation and Chinese characters are parts of their own."""
    parts = [""]
    for character in word:
        if _is_punctuation(character) or _CHINESE.match(character):
            parts += [character, ""]
        else:
            parts[-1] += character
    return [part for part in parts if part]


def _is_punctuation(character: str) -> bool:
    """ASCII marks, also those that Unicode does not call punctuation, and Unicode's own (BERT)."""
    is_ascii = character.isascii() and character.isprintable() and not character.isalnum() and character != " "
    return is_ascii or unicodedata.category(character).startswith("P")
