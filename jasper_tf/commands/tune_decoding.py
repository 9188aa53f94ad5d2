"""`jasper-tf tune-decoding`: the weights of a language model, fitted on a development set."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from jasper_tf.commands._arguments import add_model_argument
from jasper_tf.commands._decoding import DecodingOptions, add_decoding_arguments, plain_section, split_overrides
from jasper_tf.data.manifest.columns import manifest_paths, read_manifest
from jasper_tf.errors import UserError, printable
from jasper_tf.inference.audio_settings import read_audio_settings
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.inference.model_path import require_model_path
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.progress import Progress, megabytes
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, report_stream, validate_outputs
from jasper_tf.metrics.error_rate import ErrorCounts, count_errors
from jasper_tf.tuning.log_prob_file import compute_log_probs

if TYPE_CHECKING:  # `--help` waits for no library
    from jasper_tf.tuning.decoding_search import DecodingSearch, Setting

HELP = "search the weights of a language model, the beam size and the floor that give the lowest word error rate"
INTERMIXED = True

_FEW_WORDS = 200
"""Below it one word is more than half a point of the word error rate."""
_KEYS = {"alpha": "ngram_lm_alpha", "beta": "beam_beta", "beam_size": "beam_size", "floor": "token_min_logp"}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Without --alpha and --beta a coarse grid is tried, then the weights around the best. evaluate, transcribe and "
        "export take the output with --decoding. Exit status: 0; 1 some recordings cannot be read: they are named, the "
        "others are used; 2 a mistake in the command or in a file."
    )
    add_model_argument(parser)
    parser.add_argument(
        "--manifest", required=True, nargs="+", metavar="F", help="JSON lines in NeMo's layout: a development set"
    )
    add_decoding_arguments(parser, lm_required=True, n_best=False)
    parser.add_argument("--alpha", type=float, nargs="+", metavar="X", help="weights of the language model to try")
    parser.add_argument("--beta", type=float, nargs="+", metavar="X", help="gains of each word (or label) to try")
    parser.add_argument(
        "--beam-size", type=int, nargs="+", metavar="K", help="the first is that of the grid (default 16 32 64)"
    )
    parser.add_argument(
        "--floor",
        type=float,
        nargs="+",
        metavar="X",
        help="least ln p of a label that is tried in a frame; the first is that of the grid (default -5 -3 -7 -10)",
    )
    parser.add_argument("--output", required=True, metavar="F.yaml", help="the best decoding")
    parser.add_argument("--picture", metavar="F.png", help="the word error rate over alpha and beta")
    add_overwrite_argument(parser)
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="utterances at a time (%(default)s)")
    parser.add_argument(
        "overrides", nargs="*", metavar="decoding.KEY=value", help="settings that are not searched, as in evaluate"
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the best decoding; returns 1 if a recording cannot be read (it is named, and not used)."""
    with redirect_stdout(report_stream([arguments.output, arguments.picture])):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    swallowed, manifests = split_overrides(arguments.manifest)
    if not manifests:
        raise UserError("--manifest: names no manifest; give one")
    options = DecodingOptions(arguments, [*arguments.overrides, *swallowed])
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size {arguments.batch_size}: must be 1 or more")
    values = {key: getattr(arguments, key) for key in _KEYS}
    for key, tried in values.items():
        for value in tried or ():  # the schema knows the ranges
            DecodingOptions(arguments, [f"decoding.beam.{_KEYS[key]}={value}"])
    require_model_path(arguments.model, exports=True)
    outputs = [Output("--output", arguments.output, "config")]
    outputs += [Output("--picture", arguments.picture, "png")] if arguments.picture else []

    validate_outputs(outputs, [arguments.model, *options.files, *manifest_paths(manifests)], arguments.overwrite)
    utterances = read_manifest(manifests, files_exist=True)
    if not any(utterance.text.split() for utterance in utterances):
        raise UserError(f"{manifests[0]}: its texts have no words; give a manifest with the texts that are said")

    from jasper_tf.decoding.beam.language_model import LanguageModel
    from jasper_tf.tuning.decoding_search import DecodingSearch, Grid

    model = load_recognizer(arguments.model)
    config = options.apply(model.decoding_config)
    beam = config.beam_settings()
    language_model = LanguageModel.read(arguments.lm, model.tokenizer)
    failed = len(utterances.absent)
    for absent in utterances.absent:
        print(f"error: {absent}", file=sys.stderr)
    with Progress("recognizing", len(utterances)) as progress:

        def done(utterance, error) -> None:
            nonlocal failed
            if error is not None:
                failed += 1
                progress.clear()
                print(f"error: {printable(utterance.source)}: {error}", file=sys.stderr)
            progress.advance()

        log_probs, references, greedy = compute_log_probs(model, utterances, read_audio_settings(arguments.model), done)
    if not references:
        raise UserError(f"{manifests[0]}: none of its recordings can be read; check their paths")
    print(f"{len(log_probs)} utterances, log-probabilities of {megabytes(log_probs.size)} in a temporary file")
    grid = Grid(**{f"{key}s": tried for key, tried in values.items() if tried})
    with Progress("decoding", None, note=lambda: _note(search)) as progress:
        search = DecodingSearch(
            log_probs, references, model.tokenizer, beam, language_model, arguments.batch_size, progress.advance
        )
        progress.total = search.plan(grid) * len(log_probs)
        best = search.search(grid)
    without = _count(references, greedy)
    found = search.outcomes[best]
    print(_table(search, best))
    print(f"greedy: {_rates(*without)}")
    print(f"best: {_named(best)}: {_rates(found.words, found.characters)}")
    for key in search.edges:
        print(f"the best {key} is the last that was tried in its direction: --{key.replace('_', '-')} with more values")
    # The file may be used from another folder; older names of its keys would say something else.
    chosen = replace(best.of(beam), ngram_lm_model=os.path.abspath(arguments.lm), kenlm_path=None, beam_alpha=None)
    if isinstance(chosen.hot_words, str):
        chosen.hot_words = os.path.abspath(chosen.hot_words)
    section = plain_section(replace(config, strategy="beam", beam=chosen))
    if tuple(one.errors for one in without) <= (found.words.errors, found.characters.errors):
        print("the language model does not help here: writing greedy decoding")
        section = {"strategy": "greedy"}
    if (words := without[0].reference) < _FEW_WORDS:
        print(f"only {words} words: the choice is uncertain; use {_FEW_WORDS} or more")
    with ExitStack() as stack:
        file = stack.enter_context(atomic_write(arguments.output))
        lines = [_rates(found.words, found.characters), f"greedy {_rates(*without)}", ", ".join(manifests)]
        file.write("".join(f"# {printable(line)}\n" for line in lines))
        yaml.safe_dump({"decoding": section}, file, sort_keys=False, allow_unicode=True)
        if arguments.picture:
            _draw(stack.enter_context(atomic_write(arguments.picture, binary=True)), search, arguments.lm)
    print(arguments.output)
    return 1 if failed else 0


def _count(references: Sequence[str], texts: Sequence[str]) -> tuple[ErrorCounts, ErrorCounts]:
    return count_errors(references, texts, "word"), count_errors(references, texts, "character")


def _rates(words: ErrorCounts, characters: ErrorCounts) -> str:
    return f"WER {words.rate:.2%}, CER {characters.rate:.2%}"


def _named(setting: Setting) -> str:
    return f"alpha {setting.alpha:g}, beta {setting.beta:g}, beam_size {setting.beam_size}, floor {setting.floor:g}"


def _note(search: DecodingSearch) -> str:
    if not search.outcomes:
        return ""
    best = search.best
    return f"WER {search.outcomes[best].words.rate:.2%}: alpha {best.alpha:g}, beta {best.beta:g}"


def _pairs(search: DecodingSearch) -> dict[tuple[float, float], float]:
    """The word error rate of each pair of weights, with the first beam size and floor."""
    first = next(iter(search.outcomes))
    return {
        (one.alpha, one.beta): found.words.rate
        for one, found in search.outcomes.items()
        if (one.beam_size, one.floor) == (first.beam_size, first.floor)
    }


def _table(search: DecodingSearch, best: Setting) -> str:
    pairs = _pairs(search)
    first = next(iter(search.outcomes))
    alphas, betas = (sorted({pair[at] for pair in pairs}) for at in (0, 1))
    lines = [f"WER in %, beam_size {first.beam_size}, floor {first.floor:g}"]
    lines.append(f"{'alpha':>7} " + "".join(f"{f'beta {beta:g}':>10}" for beta in betas))
    for alpha in alphas:
        cells = (f"{100 * pairs[alpha, beta]:.2f}" if (alpha, beta) in pairs else "" for beta in betas)
        lines.append(f"{alpha:7g} " + "".join(f"{cell:>10}" for cell in cells))
    for key in ("beam_size", "floor"):
        tried = [one for one in search.outcomes if (one.alpha, one.beta) == (best.alpha, best.beta)]
        if key == "floor":
            tried = [one for one in tried if one.beam_size == best.beam_size]
        else:
            tried = [one for one in tried if one.floor == first.floor]
        if len(tried) > 1:
            rates = sorted((getattr(one, key), search.outcomes[one].words.rate) for one in tried)
            lines.append(f"{key}  " + "   ".join(f"{value:g}: {100 * rate:.2f}" for value, rate in rates))
    return "\n".join(line.rstrip() for line in lines)


def _draw(file, search: DecodingSearch, language_model: str) -> None:
    from jasper_tf.plots.weight_grid import draw_weight_grid

    pairs = _pairs(search)
    # The best pair first; its beam and floor may not be those of the others.
    ranked = sorted(pairs, key=lambda pair: (pair != (search.best.alpha, search.best.beta), pair))
    alphas, betas = zip(*ranked, strict=True)
    draw_weight_grid(file, alphas, betas, [pairs[pair] for pair in ranked], Path(language_model).name)
