"""Builds the tokenizer of a configuration."""

from __future__ import annotations

import os
from pathlib import Path

from jasper_tf.config import Config
from jasper_tf.errors import UserError, shorten
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.text.read_tokenizer import read_tokenizer
from jasper_tf.text.tokenizer import CharacterTokenizer, Tokenizer, tokenizer_from_config
from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer

TOKENIZER_FOLDER = "tokenizer"
"""Beside the `config.yaml` of a run or an imported model: a copy of its `model.tokenizer.dir`."""


def write_tokenizer(tokenizer: Tokenizer, folder: str | Path) -> None:
    """Writes the files of word pieces to `TOKENIZER_FOLDER` in `folder`, where `build_tokenizer` finds them."""
    for name, content in tokenizer.files().items():
        file = Path(folder) / TOKENIZER_FOLDER / name
        file.parent.mkdir(exist_ok=True)
        with atomic_write(file, binary=True) as stream:
            stream.write(content)


def build_tokenizer(cfg: Config) -> Tokenizer:
    """Returns the tokenizer of `model.labels`, or of `model.tokenizer`, whose files are read.

    Raises:
        UserError: a file is missing or damaged; `model.decoder` has other pieces, or another number of them.
    """
    given, decoder = cfg.model.tokenizer, cfg.model.decoder
    if given is None:
        return CharacterTokenizer(cfg.model.labels or [])
    if given.content is not None:
        tokenizer = tokenizer_from_config(given.content)
    else:
        beside = Path(cfg.source).parent / TOKENIZER_FOLDER
        folder = Path(given.dir) if os.path.isdir(given.dir) else beside
        if not folder.is_dir():
            raise UserError(
                f"{cfg.source}: model.tokenizer.dir: {shorten(given.dir)}: no such folder; make it with tokenizer train"
            )
        tokenizer = read_tokenizer(folder, given.type)
    if decoder.num_classes not in (-1, len(tokenizer)):
        raise UserError(
            f"{cfg.source}: model.decoder.num_classes: {decoder.num_classes}, but the tokenizer of {given.dir} has "
            f"{len(tokenizer)} pieces; leave the key out"
        )
    # NeMo writes those of a WordPiece vocabulary in another order each time.
    ordered = not isinstance(tokenizer, WordPieceTokenizer)
    if ordered and decoder.vocabulary and decoder.vocabulary != list(tokenizer.vocabulary):
        raise UserError(
            f"{cfg.source}: model.decoder.vocabulary: differs from the tokenizer of {given.dir}; leave the key out"
        )
    return tokenizer
