"""`python -m jasper_tf lm`: builds, scores and prunes n-gram language models (ARPA)."""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator

import numpy as np

from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.io.progress import Progress, megabytes
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, report_stream, validate_outputs
from jasper_tf.language_model.arpa import read_arpa, write_arpa
from jasper_tf.language_model.corpus import Corpus, Line, read_corpus, text_lines
from jasper_tf.language_model.kenlm_binary import is_kenlm_binary
from jasper_tf.language_model.kneser_ney import estimate, prune_thresholds
from jasper_tf.language_model.ngram_model import NGramModel
from jasper_tf.language_model.ngram_tables import NGramTables
from jasper_tf.language_model.perplexity import perplexity, perplexity_with_kenlm, unit_of
from jasper_tf.language_model.prune import prune
from jasper_tf.language_model.read_model import read_model

HELP = "build an n-gram language model from text, measure its perplexity, prune it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    verbs = parser.add_subparsers(dest="action", required=True, metavar="ACTION")

    build = verbs.add_parser("build", help="text to ARPA: modified Kneser-Ney, the n-grams of KenLM's lmplz")
    source = build.add_mutually_exclusive_group(required=True)
    source.add_argument("--text", nargs="+", metavar="F", help="a sentence a line, UTF-8, plain or gzip")
    source.add_argument("--from-manifest", nargs="+", metavar="F", help="the texts of manifests")
    build.add_argument("--order", type=int, default=3, metavar="N", help="words of the longest n-grams (%(default)s)")
    build.add_argument("--output", required=True, metavar="F", help="the model: .arpa, or .arpa.gz to pack it")
    build.add_argument(
        "--prune",
        type=int,
        nargs="+",
        default=[0],
        metavar="N",
        help="leave out n-grams seen N times or less, by order",
    )
    words = build.add_mutually_exclusive_group()
    words.add_argument("--limit-vocab", metavar="F", help="a file of the words to keep; the others count as unknown")
    words.add_argument("--min-word-count", type=int, default=1, metavar="N", help="keep words seen that often")
    build.add_argument(
        "--unit",
        choices=("word", "label"),
        default="word",
        help="label: characters, | for the space; implies --discount-fallback (%(default)s)",
    )
    build.add_argument(
        "--discount-fallback", action="store_true", help="discounts of 0.5, 1, 1.5 where a small text gives none"
    )
    add_overwrite_argument(build)

    score = verbs.add_parser("perplexity", help="the perplexity of a text, with and without unknown words")
    score.add_argument("--lm", required=True, metavar="F", help="the model: .arpa, .arpa.gz or a KenLM binary")
    score.add_argument("--text", nargs="+", required=True, metavar="F", help="a sentence a line, plain or gzip")
    score.add_argument("--unit", choices=("word", "label"), help="default: what the ARPA is made of")

    smaller = verbs.add_parser("prune", help="leave out the n-grams that matter least, by relative entropy")
    smaller.add_argument("--lm", required=True, metavar="F", help="the model: .arpa, .arpa.gz or KenLM's trie")
    smaller.add_argument(
        "--threshold", type=float, required=True, metavar="X", help="relative rise of perplexity to accept, as 1e-8"
    )
    smaller.add_argument("--output", required=True, metavar="F", help="the smaller model")
    add_overwrite_argument(smaller)


def run(arguments: argparse.Namespace) -> int:
    return {"build": _build, "perplexity": _perplexity, "prune": _prune}[arguments.action](arguments)


def _build(arguments: argparse.Namespace) -> int:
    a = arguments
    sources = a.text or a.from_manifest
    validate_outputs([Output("--output", a.output, "arpa")], [*sources, a.limit_vocab], a.overwrite)
    prune_thresholds(a.order, a.prune)
    allowed = None
    if a.limit_vocab:
        allowed = {word.decode("utf-8", "replace") for _, line in text_lines([a.limit_vocab]) for word in line.split()}
    corpus = _read(a.text, a.from_manifest, a.unit)
    if a.min_word_count > 1:
        allowed = _frequent(corpus, a.min_word_count)
    fallback = a.discount_fallback or a.unit == "label"  # a few dozen characters never give 1-gram discounts
    with Progress("counting n-grams", len(corpus.ids) * a.order) as progress:
        model = estimate(corpus, a.order, a.prune, allowed, fallback, progress.advance)
    write_arpa(model, a.output)
    print(f"{_size(model)}: {a.output}", file=report_stream([a.output]))
    return 0


def _read(texts: list[str] | None, manifests: list[str] | None, unit: str) -> Corpus:
    if manifests:
        return read_corpus(_manifest_lines(manifests), unit, manifests[0])  # type: ignore[arg-type]  # argparse checks the choices
    assert texts
    with Progress("reading text", _bytes(texts), megabytes) as progress:
        return read_corpus(text_lines(texts, progress), unit, texts[0])  # type: ignore[arg-type]  # as above


def _bytes(paths: list[str]) -> int:
    return sum(os.path.getsize(path) for path in paths if os.path.isfile(path))


def _manifest_lines(paths: list[str]) -> Iterator[Line]:
    for utterance in read_manifest(paths):
        if utterance.text.strip():
            yield utterance.source, utterance.text.encode()


def _frequent(corpus: Corpus, least: int) -> set[str]:
    counts = np.bincount(corpus.ids, minlength=len(corpus.vocabulary))
    return {word for word, count in zip(corpus.vocabulary, counts, strict=True) if count >= least}


def _perplexity(arguments: argparse.Namespace) -> int:
    a = arguments
    with Progress("scoring text", _bytes(a.text), megabytes) as progress:
        lines = text_lines(a.text, progress)
        if is_kenlm_binary(a.lm):
            found = perplexity_with_kenlm(a.lm, lines, a.unit or "word")
        else:
            tables = NGramTables.from_model(read_arpa(a.lm))
            found = perplexity(tables, lines, a.unit or unit_of(tables))
    words = found.tokens - found.sentences
    print(f"sentences {found.sentences}, words {words}, unknown {found.unknown} ({found.unknown / max(1, words):.2%})")
    print(f"perplexity {found.with_unknown:.2f}, without unknown words {found.without_unknown:.2f}")
    return 0


def _prune(arguments: argparse.Namespace) -> int:
    a = arguments
    validate_outputs([Output("--output", a.output, "arpa")], [a.lm], a.overwrite)
    model = read_model(a.lm)
    smaller = prune(model, a.threshold)
    write_arpa(smaller, a.output)
    said = f"{_size(smaller)}, of {sum(map(len, model.orders)):,} n-grams: {a.output}"
    print(said, file=report_stream([a.output]))
    return 0


def _size(model: NGramModel) -> str:
    return ", ".join(f"{len(level):,} {n}-grams" for n, level in enumerate(model.orders, 1))
