"""How log-probabilities become text: NeMo's `model.decoding` section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated, Any, Literal

from jasper_tf.config.section import OFF, Range, Section, ZeroToOne
from jasper_tf.config.sections.confidence_schema import ConfidenceConfig, read_confidence

Weight = Annotated[float, Range(-50, 50)]
"""A natural logarithm; its exponential is far from the ends of float32."""
LogProb = Annotated[float, Range(-(10**6), 0)]


@dataclass(kw_only=True)
class PyCTCDecodeConfig(Section):
    """Settings of `strategy: pyctcdecode`; they replace those of `beam` that mean the same.

    Attributes:
        beam_prune_logp: `beam_threshold`, as a negative number.
        token_min_logp: as in `beam`.
        hotwords: words that are expected.
        hotword_weight: `hot_word_weight`, for each of them.
    """

    beam_prune_logp: LogProb = -10.0
    token_min_logp: LogProb = -5.0
    hotwords: list[str] | None = None
    hotword_weight: Weight | None = None

    # Ours keeps of prefixes with the same future the best, unless several hypotheses are asked for.
    IGNORED = frozenset({"prune_history"})


@dataclass(kw_only=True)
class FlashlightConfig(Section):
    """Settings of `strategy: flashlight`; they replace those of `beam` that mean the same.

    Attributes:
        beam_size_token: `top_tokens`.
        beam_threshold: as in `beam`.
    """

    beam_size_token: Annotated[int, Range(1, 10**4)] = 16
    beam_threshold: Annotated[float, Range(0, 10**6)] = 20.0

    # The lexicon is made from the language model, whose unknown words `unk_score_offset` steers.
    IGNORED = frozenset({"lexicon_path", "unk_weight", "sil_weight"})
    ONLY = {"boost_path": (None,)}


def _no_phrases(boosting_tree: Any) -> bool:
    """A mapping without phrases."""
    given = boosting_tree if isinstance(boosting_tree, Mapping) else {}
    keys = ("model_path", "key_phrases_file", "key_phrases_list", "key_phrase_items_list")
    return not any(given.get(key) for key in keys)


@dataclass(kw_only=True)
class BeamConfig(Section):
    """The beam search. Keys of NeMo's `BeamCTCInferConfig`, then those of this package, which are not in NeMo.

    Weights are natural logarithms, but for `unk_score_offset`.

    Attributes:
        beam_size: hypotheses that are kept after each frame.
        ngram_lm_model: file of an n-gram model of words or of labels, ARPA (plain or gzip) or KenLM's binary trie.
        kenlm_path: an older name of `ngram_lm_model`.
        ngram_lm_alpha: weight of the language model; null is 0.35, or what `beam_alpha` says.
        beam_alpha: an older name of `ngram_lm_alpha`.
        beam_beta: what each word gains with a model of words, each label with one of labels; no effect without a model.
        beam_threshold: hypotheses whose score is this much below the best are dropped.
        return_best_hypothesis: false returns `beam_size` hypotheses, or `n_best` if it is given.
        pyctcdecode_cfg: for `strategy: pyctcdecode`.
        flashlight_cfg: for `strategy: flashlight`.
        n_best: not in NeMo: how many hypotheses are returned, at most `beam_size`; null is one.
        top_tokens: not in NeMo: labels that are tried in a frame, the most probable ones.
        token_min_logp: not in NeMo: labels with a lower ln p are not tried, but for the most probable class of a frame.
        blank_skip: not in NeMo: frames whose blank is more probable than this are not searched; 1 searches all.
        unk_score_offset: not in NeMo: added to log10 p of a word that is not in the vocabulary of the language model.
        look_ahead: not in NeMo: how much of the best unigram that begins like it an unfinished word counts; 0: words
            count when they end.
        hot_words: not in NeMo: file of hot words, or a mapping from words or phrases to weights.
        hot_word_weight: not in NeMo: of hot words without a weight of their own; a phrase gains it for each word.
        hot_word_rare: not in NeMo: with hot words twice `top_tokens` are tried, and their letters may be this far below
            `token_min_logp`.
        hot_words_are_known: not in NeMo: a hot word that the language model does not know is spared
            `unk_score_offset`.
        hot_word_possessives: not in NeMo: a hot word with 's behind it is one too.
        jit_compile: not in NeMo: compiles the search with XLA, some seconds for each new shape; exports do not.
    """

    beam_size: Annotated[int, Range(1, 1024)] = 16
    ngram_lm_model: str | None = None
    kenlm_path: str | None = None
    ngram_lm_alpha: Annotated[float, Range(0, 50)] | None = None
    beam_alpha: Annotated[float, Range(0, 50)] | None = None
    beam_beta: Weight = 1.2
    beam_threshold: Annotated[float, Range(0, 10**6)] = 10.0
    return_best_hypothesis: bool = True
    pyctcdecode_cfg: PyCTCDecodeConfig = field(default_factory=PyCTCDecodeConfig)
    flashlight_cfg: FlashlightConfig = field(default_factory=FlashlightConfig)

    n_best: Annotated[int, Range(1, 1024)] | None = None
    top_tokens: Annotated[int, Range(1, 10**4)] = 8
    token_min_logp: LogProb = -5.0
    blank_skip: Annotated[float, Range(0, 1, without=(0,))] = 0.999
    unk_score_offset: Annotated[float, Range(-100, 0)] = -10.0
    look_ahead: ZeroToOne = 0.5
    hot_words: str | dict[str, Any] | None = None
    hot_word_weight: Weight = 8.0
    hot_word_rare: Annotated[float, Range(0, 50)] = 5.0
    hot_words_are_known: bool = True
    hot_word_possessives: bool = True
    jit_compile: bool = False

    IGNORED = frozenset("search_type preserve_alignments compute_timestamps allow_cuda_graphs".split())
    ONLY = {"boosting_tree": _no_phrases, "boosting_tree_alpha": (None, 0, 0.0)}

    def __post_init__(self) -> None:
        if isinstance(self.pyctcdecode_cfg, Mapping):
            self.pyctcdecode_cfg = PyCTCDecodeConfig(**self.pyctcdecode_cfg)
        if isinstance(self.flashlight_cfg, Mapping):
            self.flashlight_cfg = FlashlightConfig(**self.flashlight_cfg)

    @property
    def language_model(self) -> str | None:
        return self.ngram_lm_model or self.kenlm_path

    @property
    def alpha(self) -> float:
        given = [value for value in (self.ngram_lm_alpha, self.beam_alpha) if value is not None]
        return given[0] if given else 0.35

    @property
    def hypotheses(self) -> int:
        """How many hypotheses are returned."""
        wanted = self.n_best or (1 if self.return_best_hypothesis else self.beam_size)
        return min(wanted, self.beam_size)


@dataclass(kw_only=True)
class DecodingConfig(Section):
    """The decoder.

    Attributes:
        strategy: `greedy` and `greedy_batch`, two implementations in NeMo, are one here; `beam`, `beam_batch`,
            `pyctcdecode` and `flashlight` are the same beam search, and differ in where their settings stand.
        beam: settings of the beam search.
        confidence_cfg: how certain labels and words are.
    """

    strategy: Literal["greedy", "greedy_batch", "beam", "beam_batch", "pyctcdecode", "flashlight"] = "greedy"
    beam: BeamConfig = field(default_factory=BeamConfig)
    confidence_cfg: ConfidenceConfig = field(default_factory=ConfidenceConfig)

    # What NeMo returns in addition to the text, and the settings of strategies that were not chosen.
    IGNORED = frozenset(
        "preserve_alignments compute_timestamps compute_langs word_seperator segment_seperators segment_gap_threshold"
        " ctc_timestamp_type batch_dim_index fused_batch_size confidence_method_cfg temperature"
        " greedy wfst".split()
    )
    ONLY = {"return_best_hypothesis": (None, True), "return_xattn_scores": OFF}

    def __post_init__(self) -> None:  # a saved model keeps plain values
        if isinstance(self.beam, Mapping):
            self.beam = BeamConfig(**self.beam)
        if isinstance(self.confidence_cfg, Mapping):
            self.confidence_cfg = read_confidence(self.confidence_cfg)

    @property
    def is_greedy(self) -> bool:
        return self.strategy.startswith("greedy")

    def beam_settings(self) -> BeamConfig:
        """`beam` with the settings that stand in the section of the strategy."""
        beam = self.beam
        if self.strategy == "pyctcdecode":
            own = beam.pyctcdecode_cfg
            beam = replace(beam, beam_threshold=-own.beam_prune_logp, token_min_logp=own.token_min_logp)
            if own.hotword_weight is not None:
                beam.hot_word_weight = own.hotword_weight
            if own.hotwords:
                beam.hot_words = dict.fromkeys(own.hotwords, beam.hot_word_weight)
        elif self.strategy == "flashlight":
            of_flashlight = beam.flashlight_cfg
            beam = replace(beam, beam_threshold=of_flashlight.beam_threshold, top_tokens=of_flashlight.beam_size_token)
        return beam
