"""Word pieces of a SentencePiece model: BPE or unigram."""

from __future__ import annotations

import base64
import binascii
import functools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from jasper_tf.errors import UserError, shorten
from jasper_tf.text.bpe_dropout import merge_randomly
from jasper_tf.text.sentencepiece_model import SPACE, read_sentencepiece_model
from jasper_tf.text.tokenizer import Tokenizer

MODEL, SCORES, VOCABULARY = "tokenizer.model", "tokenizer.vocab", "vocab.txt"
"""Files of NeMo's tokenizer folder."""


class SentencePieceTokenizer(Tokenizer):
    """Each label is a piece of a SentencePiece model, `<unk>` and control symbols included, as in NeMo.

    Texts are what SentencePiece itself encodes and decodes. Decoding needs only the table of pieces; the package
    `sentencepiece` is loaded when a text is first encoded.

    Args:
        model: content of the `.model` file.
        name: of the file, for messages.

    Raises:
        UserError: as `read_sentencepiece_model`.
    """

    def __init__(self, model: bytes, name: str = MODEL):
        self._content = model
        self._name = shorten(name)
        self.model = m = read_sentencepiece_model(model, name)
        self.unknown = m.unknown
        # A real space does not count as one of those that decoding removes at the beginning.
        self._written = [
            "" if at in m.controls else m.unknown_text if at == m.unknown else piece
            for at, piece in enumerate(m.pieces)
        ]
        super().__init__([piece.replace(SPACE, " ") for piece in self._written])
        self._is_known: dict[str, bool] = {}

    @property
    def vocabulary(self) -> Sequence[str]:
        return self.model.pieces

    @functools.cached_property
    def _processor(self) -> Any:
        import sentencepiece  # only encoding needs it

        try:
            return sentencepiece.SentencePieceProcessor(model_proto=self._content)
        except (RuntimeError, ValueError, OSError) as error:
            raise UserError(f"{self._name}: SentencePiece cannot use it ({shorten(error, 100)})") from None

    def encode(self, text: str) -> np.ndarray:
        return self._checked(self._processor.encode(text), text)

    def encode_batch(self, texts: Sequence[str]) -> list[Sequence[int]]:
        return self._processor.encode(list(texts))

    def encode_randomly(self, text: str, dropout: float, seed: int) -> np.ndarray:
        if self.model.algorithm != "bpe":
            return super().encode_randomly(text, dropout, seed)
        ids, scores, fixed = self._merges
        labels, symbols = self.encode(text), list[str]()
        for label in labels:
            piece = self.model.pieces[label]
            symbols += [piece] if piece in fixed else piece
        if not ids.keys() >= set(symbols):  # a character that only larger pieces write
            return labels
        return np.array([ids[piece] for piece in merge_randomly(symbols, scores, fixed, dropout, seed)], np.int32)

    @functools.cached_property
    def _merges(self) -> tuple[dict[str, int], dict[str, float], frozenset[str]]:
        """By piece its label and, of those that merges give, its score; the pieces that are not merged."""
        m = self.model
        ids = {piece: at for at, piece in enumerate(m.pieces)}
        scores = {piece: m.scores[at] for piece, at in ids.items() if at != m.unknown and at not in m.controls}
        return ids, scores, frozenset(m.pieces[at] for at in m.user_defined)

    def _checked(self, ids: list[int], text: str) -> np.ndarray:
        found = np.array(ids, np.int32)
        if self.unknown in ids:
            unknown = next(iter(self.out_of_vocabulary(text)), text)
            raise UserError(
                f"the character {unknown!r} of {text!r} is in no piece of {self._name}; see unknown_characters"
            )
        return found

    def out_of_vocabulary(self, text: str) -> list[str]:
        if self.unknown not in self._processor.encode(text):
            return []
        for character in set(text) - self._is_known.keys():
            self._is_known[character] = self.unknown not in self._processor.encode(character)
        # Characters that can be written alone but not together (NFKC composes them) are named together.
        return [character for character in text if not self._is_known[character]] or list(text)

    def decode(self, ids: Iterable[int]) -> str:
        text = "".join(self._written[i] for i in ids)
        if self.model.leading_spaces == "all":
            text = text.lstrip(SPACE)
        elif self.model.leading_spaces == "one":
            text = text.removeprefix(SPACE)
        return text.replace(SPACE, " ")

    def decode_in_graph(self, ids: Any) -> Any:
        import tensorflow as tf  # as in `Tokenizer.decode_in_graph`

        table = tf.constant([*self._written, ""])
        text = tf.strings.reduce_join(tf.gather(table, tf.where(ids < 0, len(self), ids)), axis=1)
        if self.model.leading_spaces != "none":
            text = tf.strings.regex_replace(text, f"^{SPACE}{'+' if self.model.leading_spaces == 'all' else ''}", "")
        return tf.strings.regex_replace(text, SPACE, " ")

    def get_config(self) -> dict[str, Any]:
        return {"type": "bpe", "model": base64.b64encode(self._content).decode()}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> SentencePieceTokenizer:
        """Raises UserError: damaged."""
        try:
            return cls(base64.b64decode(config["model"], validate=True))
        except (KeyError, TypeError, binascii.Error, ValueError) as error:
            if isinstance(error, UserError):
                raise
            raise UserError("tokenizer.model: is not base64; damaged") from None

    def files(self) -> dict[str, bytes]:
        pairs = zip(self.model.pieces, self.model.scores, strict=True)
        scores = "".join(f"{piece}\t{score:g}\n" for piece, score in pairs)
        special = {"<s>", "</s>", "<pad>", "<unk>"}
        vocabulary = "".join(f"{_bert_piece(piece)}\n" for piece in self.model.pieces if piece not in special)
        return {MODEL: self._content, SCORES: scores.encode(), VOCABULARY: vocabulary.encode()}


def _bert_piece(piece: str) -> str:
    """As NeMo writes it to vocab.txt."""
    return (piece[1:] or piece) if piece.startswith(SPACE) else f"##{piece}"
