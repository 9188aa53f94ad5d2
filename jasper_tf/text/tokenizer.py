"""Converts texts to labels and back. No other module knows what a label is made of."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jasper_tf.errors import UserError, shorten


class Tokenizer(ABC):
    """Base class of tokenizers: the V labels that a model writes; the CTC blank is the class after the last one.

    A label adds its piece of text to what the labels before it have written. A piece that begins with a space starts a
    word, and the rest of it belongs to that word; the piece " " starts a word and adds nothing to it. Behind one that
    ends with a space, such as `<unk>`, a word starts too.

    Attributes:
        pieces: the V texts.
        starts_word: [V] bool, whether the piece begins with a space.
        ends_word: [V] bool, whether a space follows in the piece.
        word_pieces: the V texts without the spaces: what a label adds to its word.
        characters: those that texts of these labels consist of.
        unknown: the label that stands for what no label writes, or None.
    """

    unknown: int | None = None

    def __init__(self, pieces: Sequence[str]):
        self.pieces = tuple(pieces)
        self.starts_word = np.array([piece.startswith(" ") for piece in self.pieces], bool)
        self.word_pieces = tuple(piece.strip(" ") for piece in self.pieces)
        self.ends_word = np.array([piece.endswith(" ") for piece in self.pieces], bool)
        self.characters = frozenset("".join(self.pieces))

    @property
    def vocabulary(self) -> Sequence[str]:
        """The V labels as their file has them."""
        return self.pieces

    def __len__(self) -> int:
        """V: the number of labels, the blank not counted."""
        return len(self.pieces)

    @abstractmethod
    def encode(self, text: str) -> np.ndarray:
        """Text to labels [U] int32.

        Raises:
            UserError: a character is out of vocabulary.
        """

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        """Texts to labels, as fast as can be: one out of vocabulary has `unknown` among them, or none at all."""
        return [[] if self.out_of_vocabulary(text) else self.encode(text).tolist() for text in texts]

    def encode_randomly(self, text: str, dropout: float, seed: int) -> np.ndarray:
        """One of the ways to write `text`, as labels [U] int32: a function of its arguments.

        Args:
            text: as in `encode`.
            dropout: probability of each merge that is left out (BPE-dropout, arXiv 1910.13267).
            seed: 0 to 2^31 - 1.

        Raises:
            UserError: as `encode`; these labels write a text in one way only.
        """
        raise UserError("bpe_dropout: this tokenizer writes a text in one way only; use a SentencePiece model of BPE")

    @abstractmethod
    def out_of_vocabulary(self, text: str) -> list[str]:
        """The characters of `text` that no label can write, in order, repeated as often as they occur."""

    def label_len_bound(self, characters: np.ndarray) -> np.ndarray | None:
        """The most labels [texts] that texts of `characters` [texts] characters can have; None: only the texts tell."""
        return None

    @abstractmethod
    def get_config(self) -> dict[str, Any]:
        """What `tokenizer_from_config` builds an equal tokenizer from; values of JSON."""

    def files(self) -> dict[str, bytes]:
        """The files of NeMo's tokenizer folder by name; none for characters, which the configuration lists."""
        return {}

    def decode(self, ids: Iterable[int]) -> str:
        """Labels [U] to text, without blanks and padding."""
        return "".join(self.pieces[i] for i in ids)

    def decode_in_graph(self, ids: Any) -> Any:
        """`decode` as TensorFlow operations: labels [B,U] int32, negative where padded -> text [B] tf.string."""
        import tensorflow as tf  # the checks of a manifest need a tokenizer and no TensorFlow

        table = tf.constant([*self.pieces, ""])
        return tf.strings.reduce_join(tf.gather(table, tf.where(ids < 0, len(self.pieces), ids)), axis=1)


class CharacterTokenizer(Tokenizer):
    """Each label is one character.

    Args:
        labels: the characters in class order, none twice.

    Raises:
        UserError: labels are empty, longer than one character, or repeated.
    """

    def __init__(self, labels: Sequence[str]):
        labels = list(labels)
        if not labels:
            raise UserError("labels: the list is empty; give the characters that the model may write")
        for label in labels:
            if not isinstance(label, str) or len(label) != 1:
                raise UserError(f"labels: {label!r} is not one character; quote every entry, one character each")
        super().__init__(labels)
        self._ids = {label: i for i, label in enumerate(labels)}
        if len(self._ids) != len(labels):
            twice = next(label for i, label in enumerate(labels) if label in labels[:i])
            raise UserError(f"labels: {twice!r} is listed twice; remove one of them")

    def encode(self, text: str) -> np.ndarray:
        try:
            return np.array([self._ids[character] for character in text], np.int32)
        except KeyError as error:
            raise UserError(
                f"the character {error.args[0]!r} of {text!r} is not in labels; see unknown_characters"
            ) from None

    def out_of_vocabulary(self, text: str) -> list[str]:
        return [character for character in text if character not in self._ids]

    def label_len_bound(self, characters: np.ndarray) -> np.ndarray:
        return characters

    def get_config(self) -> dict[str, Any]:
        return {"type": "characters", "labels": list(self.pieces)}


def tokenizer_from_config(config: dict[str, Any]) -> Tokenizer:
    """The tokenizer that `config` describes: what its `get_config` gave.

    Raises:
        UserError: an unknown type; a damaged vocabulary.
    """
    # They derive from the class above.
    from jasper_tf.text.sentencepiece_tokenizer import SentencePieceTokenizer
    from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer

    kind = config.get("type") if isinstance(config, dict) else config
    match kind:
        case "characters":
            return CharacterTokenizer(config.get("labels") or [])
        case "bpe":
            return SentencePieceTokenizer.from_config(config)
        case "wpe":
            return WordPieceTokenizer.from_config(config)
    raise UserError(f"tokenizer.type: {shorten(repr(kind), 60)} is not supported; use characters, bpe or wpe")
