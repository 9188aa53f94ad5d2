"""How log-probabilities become text: NeMo's `model.decoding` section."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from jasper_tf.config.section import OFF, Section


@dataclass(kw_only=True)
class DecodingConfig(Section):
    """The decoder.

    Attributes:
        strategy: two implementations in NeMo, one here.
    """

    strategy: Literal["greedy", "greedy_batch"] = "greedy"

    # What NeMo returns in addition to the text, and the settings of strategies that were not chosen.
    IGNORED = frozenset(
        "preserve_alignments compute_timestamps compute_langs word_seperator segment_seperators segment_gap_threshold"
        " ctc_timestamp_type batch_dim_index fused_batch_size confidence_cfg confidence_method_cfg temperature"
        " greedy beam wfst".split()
    )
    ONLY = {"return_best_hypothesis": (None, True), "return_xattn_scores": OFF}
