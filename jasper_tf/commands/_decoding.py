"""The options that say how log-probabilities become text, the same for several verbs."""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
from collections.abc import Sequence
from typing import Any

from jasper_tf.config.decoding_overrides import override_decoding
from jasper_tf.config.loading import read_section
from jasper_tf.config.sections.decoding_schema import BeamConfig, DecodingConfig
from jasper_tf.config.source import ConfigSource
from jasper_tf.errors import UserError, shorten

_OVERRIDE = re.compile(r"(model\.)?decoding(\.\w+)+=.*", re.DOTALL)


def is_override(argument: str) -> bool:
    """Whether an argument changes the decoding, as `decoding.beam.beam_size=32`; a file of that name is a file."""
    return bool(_OVERRIDE.fullmatch(argument)) and not os.path.lexists(argument)


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The overrides among arguments, and the others."""
    return [a for a in arguments if is_override(a)], [a for a in arguments if not is_override(a)]


def add_decoding_arguments(parser: argparse.ArgumentParser, lm_required: bool = False, n_best: bool = True) -> None:
    """Adds `--decoding`, `--lm`, `--hot-words` and `--n-best`."""
    parser.add_argument(
        "--decoding",
        metavar="F.yaml",
        help="a section `decoding`, as tune-decoding writes it, or `model.decoding`, in place of the model's",
    )
    parser.add_argument(
        "--lm",
        required=lm_required,
        metavar="F",
        help="an n-gram model of words or labels, .arpa or .arpa.gz, for a beam search (decoding.beam.ngram_lm_model)",
    )
    parser.add_argument(
        "--hot-words",
        metavar="F",
        help="words or phrases to expect, one a line, each with its weight behind it or without: decodes with a beam",
    )
    if n_best:
        parser.add_argument(
            "--n-best", type=int, metavar="N", help="the N best hypotheses with their scores: decodes with a beam"
        )


class DecodingOptions:
    """What a command line says about decoding: a file, short forms, then overrides, in this order.

    What is wrong in itself is found here, without the model.

    Args:
        arguments: of `add_decoding_arguments`.
        overrides: `decoding.KEY=value`.

    Raises:
        UserError: a key is unknown, a value is wrong or a file is missing.

    Attributes:
        files: that are read.
    """

    def __init__(self, arguments: argparse.Namespace, overrides: Sequence[str]):
        self._file = None if arguments.decoding is None else _read_file(arguments.decoding)
        short = {
            "ngram_lm_model": arguments.lm,
            "hot_words": arguments.hot_words,
            "n_best": getattr(arguments, "n_best", None),
        }
        # JSON is YAML: no path is read as something else.
        self._short = [f"decoding.beam.{key}={json.dumps(value)}" for key, value in short.items() if value is not None]
        self._overrides = list(overrides)
        self.files = [path for path in (arguments.decoding, arguments.lm, arguments.hot_words) if path is not None]
        for option, path in (("--lm", arguments.lm), ("--hot-words", arguments.hot_words)):
            if path is not None and not os.path.isfile(path):
                raise UserError(f"{option} {shorten(path)}: no such file; check the path")
        self._applied(DecodingConfig(strategy="beam"))

    @property
    def given(self) -> bool:
        """Whether there are any."""
        return bool(self._file or self._short or self._overrides)

    def apply(self, own: DecodingConfig) -> DecodingConfig:
        """The model's own section with these changes.

        Raises:
            UserError: as the class; a setting has no effect with the strategy, or more hypotheses than the beam has.
        """
        config = self._applied(own)
        beam = config.beam
        if (wanted := beam.n_best or 1) > beam.beam_size:
            raise UserError(
                f"{wanted} hypotheses, but a beam of {beam.beam_size}; add decoding.beam.beam_size={wanted}"
            )
        return config

    def _applied(self, own: DecodingConfig) -> DecodingConfig:
        config = self._file or own
        strategy = ["decoding.strategy=beam"] if self._short and config.is_greedy else []
        return override_decoding(config, [*strategy, *self._short, *self._overrides])


def _read_file(path: str) -> DecodingConfig:
    source = ConfigSource.from_file(path)
    model = source.tree.get("model")
    for keys, parent in ((("decoding",), source.tree), (("model", "decoding"), model)):
        if isinstance(parent, dict) and isinstance(parent.get("decoding"), dict):
            return read_section(DecodingConfig, source, keys)
    raise UserError(f"{shorten(path)}: has no section `decoding`; give a file that tune-decoding wrote")


def plain_section(config: DecodingConfig) -> dict[str, Any]:
    """The section as plain values, in NeMo's layout; of the beam those that are not defaults, and its main ones."""
    if config.is_greedy:
        return {"strategy": config.strategy}
    beam, main = config.beam, {"beam_size", "token_min_logp"}
    if beam.language_model is not None:
        main |= {"ngram_lm_alpha", "beam_beta"}
    defaults = dataclasses.asdict(BeamConfig())
    given = {key: value for key, value in dataclasses.asdict(beam).items() if key in main or value != defaults[key]}
    if beam.language_model is not None:
        given["ngram_lm_alpha"] = beam.alpha
    return {"strategy": config.strategy, "beam": given}


def describe(config: DecodingConfig) -> str:
    """One line for a reader: the strategy and what steers it."""
    section = plain_section(config)
    parts = [section["strategy"]]
    for key, value in section.get("beam", {}).items():
        if isinstance(value, float):
            value = f"{value:g}"
        parts.append(
            f"{key} {len(value)} words" if key == "hot_words" and isinstance(value, dict) else f"{key} {value}"
        )
    return ", ".join(map(str, parts))
