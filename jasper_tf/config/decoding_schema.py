"""How log-probabilities become text: NeMo's `model.decoding` section."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from jasper_tf.config.confidence_schema import ConfidenceConfig, read_confidence
from jasper_tf.config.section import OFF, Section


@dataclass(kw_only=True)
class DecodingConfig(Section):
    """The decoder.

    Attributes:
        strategy: two implementations in NeMo, one here.
    """

    strategy: Literal["greedy", "greedy_batch"] = "greedy"
    confidence_cfg: ConfidenceConfig = field(default_factory=ConfidenceConfig)

    # What NeMo returns in addition to the text, and the settings of strategies that were not chosen.
    IGNORED = frozenset(
        "preserve_alignments compute_timestamps compute_langs word_seperator segment_seperators segment_gap_threshold"
        " ctc_timestamp_type batch_dim_index fused_batch_size confidence_method_cfg temperature"
        " greedy beam wfst".split()
    )
    ONLY = {"return_best_hypothesis": (None, True), "return_xattn_scores": OFF}

    def __post_init__(self) -> None:
        if isinstance(self.confidence_cfg, Mapping):  # a saved model keeps plain values
            self.confidence_cfg = read_confidence(self.confidence_cfg)
