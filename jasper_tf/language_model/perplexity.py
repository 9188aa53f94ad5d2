"""Perplexity of a text under an n-gram model."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from jasper_tf.errors import UserError, one_line
from jasper_tf.language_model.corpus import Line, Unit, split_units
from jasper_tf.language_model.ngram_tables import NGramTables
from jasper_tf.language_model.spelling import is_over_labels

_SENTENCES = 1024
"""Sentences that are scored together."""


@dataclass(frozen=True)
class Perplexity:
    """What KenLM's `query` reports.

    Attributes:
        sentences: lines, empty ones too.
        tokens: words and an end for each sentence.
        unknown: words that are not in the vocabulary.
        log10_prob: of all tokens, float64.
        log10_prob_unknown: the part of the unknown words.
    """

    sentences: int
    tokens: int
    unknown: int
    log10_prob: float
    log10_prob_unknown: float

    @property
    def with_unknown(self) -> float:
        return 10 ** (-self.log10_prob / self.tokens)

    @property
    def without_unknown(self) -> float:
        return 10 ** (-(self.log10_prob - self.log10_prob_unknown) / (self.tokens - self.unknown))


def unit_of(tables: NGramTables) -> Unit:
    """Words, or characters if the model has nothing else."""
    return "label" if is_over_labels(tables.vocabulary, ()) else "word"


def perplexity(tables: NGramTables, lines: Iterable[Line], unit: Unit = "word") -> Perplexity:
    """Scores each line as a sentence.

    Raises:
        UserError: there is no line, or one that cannot be split into units.
    """
    ids = {word.encode() if unit == "word" else word: at for at, word in enumerate(tables.vocabulary)}
    unknown_id = tables.unknown_id
    sentences = tokens = unknown = 0
    total = total_unknown = 0.0
    lines = iter(lines)
    while batch := list(islice(lines, _SENTENCES)):
        rows = []
        for place, line in batch:
            try:
                rows.append([ids.get(word, unknown_id) for word in split_units(line, unit)])
            except UserError as error:
                raise UserError(f"{place}: {error}") from None
        rows.sort(key=len, reverse=True)
        lengths = np.array([len(row) for row in rows])
        words = np.full((len(rows), max(1, lengths[0])), unknown_id, np.int32)
        words[np.arange(words.shape[1]) < lengths[:, None]] = [word for row in rows for word in row]
        states = np.full(len(rows), tables.start_state, np.int32)
        for at in range(lengths[0]):
            active = int(np.count_nonzero(lengths > at))
            log_probs, states[:active] = tables.advance(states[:active], words[:active, at])
            strange = words[:active, at] == unknown_id
            total += log_probs.sum(dtype=np.float64)
            total_unknown += log_probs[strange].sum(dtype=np.float64)
            unknown += int(strange.sum())
        total += tables.final_log_probs[states].sum(dtype=np.float64)
        sentences += len(rows)
        tokens += int(lengths.sum()) + len(rows)
    if not sentences:
        raise UserError("the text is empty; give a text to score")
    return Perplexity(sentences, tokens, unknown, total / math.log(10), total_unknown / math.log(10))


def perplexity_with_kenlm(path: str | Path, lines: Iterable[Line], unit: Unit = "word") -> Perplexity:
    """The same by the package `kenlm`, for its binary files of any kind.

    Raises:
        UserError: `kenlm` is not installed or cannot read the file; else as `perplexity`.
    """
    try:
        import kenlm  # an extra: only its binary files need it
    except ImportError:
        raise UserError(f"{path}: a KenLM binary needs the package kenlm; pip install 'jasper-tf[lm]'") from None
    try:
        model = kenlm.Model(str(path))
    except (OSError, RuntimeError) as error:
        raise UserError(f"{path}: KenLM cannot read this file ({one_line(error)}); build it again") from None
    sentences = tokens = unknown = 0
    total = total_unknown = 0.0
    for place, line in lines:
        try:
            words = split_units(line, unit)
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        text = b" ".join(words).decode("utf-8", "replace") if unit == "word" else " ".join(words)
        for log10_prob, _, strange in model.full_scores(text):
            tokens += 1
            total += log10_prob
            if strange:
                unknown += 1
                total_unknown += log10_prob
        sentences += 1
    if not sentences:
        raise UserError("the text is empty; give a text to score")
    return Perplexity(sentences, tokens, unknown, total, total_unknown)
