"""Trains SentencePiece models as NeMo's process_asr_text_tokenizer.py does."""

from __future__ import annotations

import io
import random
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from jasper_tf.errors import UserError, one_line
from jasper_tf.text.sentencepiece_tokenizer import SentencePieceTokenizer

_LONGEST_BYTES = 2**20
"""Of a text; SentencePiece leaves out longer ones."""


@dataclass(frozen=True)
class SentencePieceOptions:
    """Options of a training, NeMo's defaults but where said.

    Attributes:
        vocab_size: pieces, `<unk>` included; fewer where the texts do not give as many.
        kind: how texts are divided.
        character_coverage: share of the characters that pieces write; below 1 rare ones become `<unk>`.
        keep_case: whether capitals have pieces of their own. Default: texts are folded to lower case (NFKC).
        longest_piece: characters of a piece, at most.
        sample_size: texts that are drawn for the training. Default: all.
        seed: of the draw.
    """

    vocab_size: int = 1024
    kind: Literal["bpe", "unigram", "char", "word"] = "bpe"
    character_coverage: float = 1.0
    keep_case: bool = False
    longest_piece: int | None = None
    sample_size: int | None = None
    seed: int = 0


def train_sentencepiece(texts: Iterable[str], options: SentencePieceOptions) -> SentencePieceTokenizer:
    """Trains a tokenizer.

    Args:
        texts: transcripts; SentencePiece holds them in memory.
        options: of the training.

    Raises:
        UserError: there is no text, or `vocab_size` is less than the characters of the texts need.
    """
    import sentencepiece  # only encoding and training need it

    model = io.BytesIO()
    more: dict[str, Any] = {}
    if options.longest_piece is not None:
        more["max_sentencepiece_length"] = options.longest_piece
    if options.sample_size is not None:
        texts = _draw(texts, options.sample_size, options.seed)
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter(texts),
            model_writer=model,
            vocab_size=options.vocab_size,
            model_type=options.kind,
            character_coverage=options.character_coverage,
            hard_vocab_limit=False,
            bos_id=-1,
            eos_id=-1,
            normalization_rule_name="nmt_nfkc" if options.keep_case else "nmt_nfkc_cf",
            max_sentence_length=_LONGEST_BYTES,
            minloglevel=2,
            **more,
        )
    except (RuntimeError, ValueError, OSError) as error:
        if isinstance(error, UserError):
            raise
        if too_few := re.search(r"\d+ vs (\d+)\. Increase vocab_size", str(error)):
            raise UserError(
                f"--vocab-size {options.vocab_size}: the characters of the texts alone need {too_few[1]}; give more"
            ) from None
        raise UserError(
            f"SentencePiece cannot train this tokenizer ({one_line(error)}); give other texts or another size"
        ) from None
    return SentencePieceTokenizer(model.getvalue())


def _draw(texts: Iterable[str], size: int, seed: int) -> list[str]:
    """`size` of the texts, each as likely as the others; SentencePiece's own draw is another one in each process."""
    rng, drawn = random.Random(seed), list[str]()
    for number, text in enumerate(texts):
        if number < size:
            drawn.append(text)
        elif (at := rng.randrange(number + 1)) < size:
            drawn[at] = text
    return drawn
