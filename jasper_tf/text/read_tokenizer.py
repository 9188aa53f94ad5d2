"""Reads a folder of NeMo's tokenizer."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Literal

from jasper_tf.errors import UserError
from jasper_tf.io.bounded_file import read_bounded
from jasper_tf.text.sentencepiece_tokenizer import MODEL, VOCABULARY, SentencePieceTokenizer
from jasper_tf.text.tokenizer import Tokenizer
from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer

MOST_BYTES = 6 * 2**20
"""Of a file; a model of 100,000 pieces takes 3 MB."""

Kind = Literal["bpe", "wpe"]


def read_tokenizer(folder: str | Path, kind: Kind) -> Tokenizer:
    """Reads `tokenizer.model` (kind "bpe": SentencePiece, unigram too) or `vocab.txt` ("wpe": WordPiece) of a folder.

    Raises:
        UserError: the file is missing, damaged or not supported.
    """
    file = Path(folder) / (MODEL if kind == "bpe" else VOCABULARY)
    return tokenizer_from_file(read_bounded(file, MOST_BYTES, "tokenizer"), kind, str(file))


def tokenizer_from_file(content: bytes, kind: Kind, name: str) -> Tokenizer:
    """The tokenizer of the content of one of these files; `name` is for messages. Raises UserError: damaged."""
    if kind == "bpe":
        return SentencePieceTokenizer(content, name)
    try:
        # Not splitlines, to which some characters of a piece are ends of lines too.
        lines = [line.rstrip("\n") for line in io.StringIO(content.decode("utf-8"), newline=None)]
    except UnicodeDecodeError:
        raise UserError(f"{name}: not UTF-8 text; give the vocabulary of a WordPiece tokenizer") from None
    return WordPieceTokenizer(lines, name)
