"""`python -m jasper_tf tokenizer`: trains word pieces."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator

from jasper_tf.commands._arguments import local_path
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, validate_outputs
from jasper_tf.language_model.corpus import text_lines
from jasper_tf.text.sentencepiece_tokenizer import MODEL, SCORES, VOCABULARY
from jasper_tf.text.train_sentencepiece import SentencePieceOptions, train_sentencepiece

HELP = "train word pieces (SentencePiece) from the texts of manifests"

_DEFAULT = SentencePieceOptions()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    train = verbs.add_parser("train", help="a folder of tokenizer.model, tokenizer.vocab and vocab.txt, as NeMo's")
    source = train.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifest", nargs="+", metavar="F", help="the texts of manifests")
    source.add_argument("--text", nargs="+", metavar="F", help="a text a line, UTF-8, plain or gzip")
    train.add_argument("--output", required=True, type=local_path, metavar="DIR", help="the folder; made if absent")
    train.add_argument(
        "--vocab-size", type=int, default=_DEFAULT.vocab_size, metavar="N", help="pieces, at most (%(default)s)"
    )
    train.add_argument(
        "--type",
        choices=("bpe", "unigram", "char", "word"),
        default=_DEFAULT.kind,
        help="how SentencePiece divides texts (%(default)s); model.tokenizer.type is bpe for each of them",
    )
    train.add_argument(
        "--character-coverage",
        type=float,
        default=_DEFAULT.character_coverage,
        metavar="X",
        help="share of the characters that are written; below 1 for thousands of them (%(default)s)",
    )
    train.add_argument("--keep-case", action="store_true", help="capitals are other characters than small letters")
    train.add_argument("--longest-piece", type=int, metavar="N", help="characters of a piece, at most")
    train.add_argument("--sample-size", type=int, metavar="N", help="texts that are drawn; default: all")
    train.add_argument("--seed", type=int, default=_DEFAULT.seed, metavar="N", help="of the draw (%(default)s)")
    add_overwrite_argument(train)


def run(arguments: argparse.Namespace) -> int:
    """Prints the number of pieces and how long texts are in them."""
    a = arguments
    options = _options(a)
    folder = a.output
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file, give a folder")
    outputs = [Output("--output", folder / MODEL, "tokenizer")]
    outputs += [Output("--output", folder / name) for name in (SCORES, VOCABULARY)]
    validate_outputs(outputs, [*(a.manifest or ()), *(a.text or ())], a.overwrite, makes_folders=True)

    texts = [text for text in _texts(a) if text.strip()]
    if not texts:
        raise UserError(f"{(a.manifest or a.text)[0]}: holds no text; give the manifest of a training set")
    tokenizer = train_sentencepiece(texts, options)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {folder}: cannot write here ({error.strerror or error})") from None
    for name, content in tokenizer.files().items():
        with atomic_write(folder / name, binary=True) as file:
            file.write(content)
    labels, characters = sum(map(len, tokenizer.encode_batch(texts))), sum(map(len, texts))
    if len(tokenizer) < a.vocab_size:
        print(f"--vocab-size {a.vocab_size}: the texts have only {len(tokenizer)} pieces", file=sys.stderr)
    print(
        f"{len(tokenizer)} pieces of {len(texts):,} texts, {characters / max(1, labels):.2f} characters a piece: "
        f"{folder / MODEL}"
    )
    return 0


def _options(a: argparse.Namespace) -> SentencePieceOptions:
    for name, value, least, most in (
        ("--vocab-size", a.vocab_size, 3, 100_000),
        ("--character-coverage", a.character_coverage, 0.98, 1),
        ("--longest-piece", a.longest_piece, 1, 512),
        ("--sample-size", a.sample_size, 100, 2**31 - 1),
        ("--seed", a.seed, 0, 2**31 - 1),
    ):
        if value is not None and not least <= value <= most:
            raise UserError(f"{name} {value:g}: must be at least {least:,} and at most {most:,}")
    return SentencePieceOptions(
        a.vocab_size, a.type, a.character_coverage, a.keep_case, a.longest_piece, a.sample_size, a.seed
    )


def _texts(a: argparse.Namespace) -> Iterator[str]:
    if a.text:
        for _, line in text_lines(a.text):
            yield line.decode("utf-8", "replace")
        return
    for utterance in read_manifest(a.manifest):
        yield utterance.text
