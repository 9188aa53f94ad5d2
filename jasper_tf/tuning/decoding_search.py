"""Searches the weights of a language model, the beam size and the floor that give the fewest word errors."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import tensorflow as tf

from jasper_tf.config.sections.decoding_schema import BeamConfig
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.language_model import LanguageModel
from jasper_tf.metrics.error_rate import ErrorCounts, count_errors
from jasper_tf.text.tokenizer import Tokenizer
from jasper_tf.tuning.log_prob_file import LogProbFile

_MOST_STEPS_OUT = 3
"""How often a grid of this module's own grows where the best lies on its edge."""


@dataclass(frozen=True)
class Setting:
    """What is searched."""

    alpha: float
    beta: float
    beam_size: int
    floor: float

    def of(self, config: BeamConfig) -> BeamConfig:
        """`config` with this setting."""
        return replace(
            config,
            ngram_lm_alpha=self.alpha,
            beam_beta=self.beta,
            beam_size=self.beam_size,
            token_min_logp=self.floor,
        )


@dataclass(frozen=True)
class Outcome:
    """The errors of a setting, and how long all utterances took in seconds."""

    words: ErrorCounts
    characters: ErrorCounts
    elapsed_s: float


@dataclass(frozen=True)
class Grid:
    """The values to try. None: this module's own, which are refined around the best.

    Attributes:
        alphas, betas: tried in all pairs, with the first beam size and floor.
        beam_sizes: tried with the best weights.
        floors: of ln p of a label, tried with the best weights and beam size.
    """

    alphas: Sequence[float] | None = None
    betas: Sequence[float] | None = None
    beam_sizes: Sequence[int] = (16, 32, 64)
    floors: Sequence[float] = (-5.0, -3.0, -7.0, -10.0)


class DecodingSearch:
    """Decodes the same log-probabilities with many settings. The language model is read once, its tables are shared.

    Args:
        log_probs: of N utterances.
        references: their texts [N].
        tokenizer: of the acoustic model.
        config: the settings that are not searched.
        language_model: of words or of labels.
        batch_size: utterances at a time.
        on_decoded: called with the number of utterances after each batch.

    Attributes:
        outcomes: of every setting that was tried, in order.
        edges: keys whose best value is the first or the last of those tried.
    """

    def __init__(
        self,
        log_probs: LogProbFile,
        references: Sequence[str],
        tokenizer: Tokenizer,
        config: BeamConfig,
        language_model: LanguageModel,
        batch_size: int = 16,
        on_decoded: Callable[[int], None] = lambda count: None,
    ):
        self.outcomes: dict[Setting, Outcome] = {}
        self.edges: list[str] = []
        self._log_probs, self._references, self._tokenizer = log_probs, list(references), tokenizer
        self._config, self._language_model = replace(config, n_best=None, return_best_hypothesis=True), language_model
        self._batch_size, self._on_decoded = batch_size, on_decoded

    @property
    def best(self) -> Setting:
        """The setting with the fewest word errors; of several the smallest weights, then what was tried first."""
        return min(self.outcomes, key=lambda one: (self.outcomes[one].words.errors, one.alpha, abs(one.beta)))

    def plan(self, grid: Grid) -> int:
        """How many settings `search` tries, about."""
        alphas, betas = self._own(grid)
        more = 8 * (grid.alphas is None) * (grid.betas is None)
        return len(alphas) * len(betas) + more + len(grid.beam_sizes) + len(grid.floors) - 2

    def search(self, grid: Grid) -> Setting:
        """Tries the weights first, then the beam sizes, then the floors; returns the best of all."""
        alphas, betas = (sorted(set(values)) for values in self._own(grid))
        beam_size, floor = grid.beam_sizes[0], grid.floors[0]

        def try_pairs(alphas: Sequence[float], betas: Sequence[float]) -> Setting:
            for alpha in alphas:
                for beta in betas:
                    self.try_setting(Setting(alpha, beta, beam_size, floor))
            return self.best

        best = try_pairs(alphas, betas)
        for _ in range(_MOST_STEPS_OUT):
            wider_alphas = _wider(alphas, best.alpha, 0.0) if grid.alphas is None else alphas
            wider_betas = _wider(betas, best.beta, None) if grid.betas is None else betas
            if (wider_alphas, wider_betas) == (alphas, betas):
                break
            alphas, betas = wider_alphas, wider_betas
            # The new row or column near the best is enough.
            best = try_pairs(_around(alphas, best.alpha), _around(betas, best.beta))
        if grid.alphas is None or grid.betas is None:
            near_alphas = _between(alphas, best.alpha) if grid.alphas is None else _around(alphas, best.alpha)
            near_betas = _between(betas, best.beta) if grid.betas is None else _around(betas, best.beta)
            best = try_pairs(near_alphas, near_betas)
        for size in grid.beam_sizes:
            self.try_setting(replace(best, beam_size=size))
        best = self.best
        for value in grid.floors:
            self.try_setting(replace(best, floor=value))
        best = self.best
        self.edges = [
            key
            for key, value, tried, least in (
                ("alpha", best.alpha, alphas, 0.0),
                ("beta", best.beta, betas, None),
                ("beam_size", best.beam_size, sorted(grid.beam_sizes), min(grid.beam_sizes)),
                ("floor", best.floor, sorted(grid.floors), None),
            )
            if len(tried) > 1 and value in (tried[0], tried[-1]) and value != least
        ]
        return best

    def try_setting(self, setting: Setting) -> Outcome:
        """Decodes everything with a setting, once."""
        if setting not in self.outcomes:
            began = time.monotonic()
            texts = self._decode(setting.of(self._config))
            elapsed_s = time.monotonic() - began
            words, characters = (count_errors(self._references, texts, unit) for unit in ("word", "character"))
            self.outcomes[setting] = Outcome(words, characters, elapsed_s)
        return self.outcomes[setting]

    def _decode(self, config: BeamConfig) -> list[str]:
        decoder = BeamDecoder(self._tokenizer, config, self._language_model)
        shape = [None, None, len(self._tokenizer) + 1]

        # Traced as a whole, it leaves out the times of the labels, which nobody asks for.
        @tf.function(input_signature=[tf.TensorSpec(shape), tf.TensorSpec([None], tf.int32)], autograph=False)
        def decode(log_probs, logit_len):
            return self._tokenizer.decode_in_graph(decoder(log_probs, logit_len).best().labels)

        traced = decode.get_concrete_function()  # once; TensorFlow warns of a function that is made in a loop
        texts = [""] * len(self._references)
        for numbers, log_probs, logit_len in self._log_probs.batches(self._batch_size):
            for number, text in zip(
                numbers, traced(tf.constant(log_probs), tf.constant(logit_len)).numpy(), strict=True
            ):
                texts[number] = text.decode()
            self._on_decoded(len(numbers))
        return texts

    def _own(self, grid: Grid) -> tuple[Sequence[float], Sequence[float]]:
        of_words = self._language_model.lexicon is not None
        alphas = grid.alphas or ((0.2, 0.5, 0.8, 1.2) if of_words else (0.2, 0.4, 0.6, 0.8))
        return alphas, grid.betas or ((0.0, 1.0, 2.0, 3.0) if of_words else (0.0, 0.4, 0.8, 1.2))


def _wider(values: list[float], best: float, least: float | None) -> list[float]:
    """`values` with one more at the end where the best lies; none below `least`."""
    if len(values) < 2:
        return values
    if best == values[-1]:
        return [*values, round(2 * values[-1] - values[-2], 4)]
    if best == values[0] and best != least:
        lower = round(2 * values[0] - values[1], 4)
        return [lower if least is None else max(least, lower), *values]
    return values


def _around(values: list[float], best: float) -> list[float]:
    """The best value and its neighbors."""
    at = values.index(best)
    return values[max(0, at - 1) : at + 2]


def _between(values: list[float], best: float) -> list[float]:
    """The best value and those halfway to its neighbors."""
    return sorted({round((best + value) / 2, 4) for value in _around(values, best)})
