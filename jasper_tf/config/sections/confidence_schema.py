"""How certain a decoder is of what it writes: NeMo's `model.decoding.confidence_cfg`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from jasper_tf.config.section import Range, Section

Alpha = Annotated[float, Range(0, 1, without=(0,))]


@dataclass(kw_only=True)
class ConfidenceMethodConfig(Section):
    """The confidence of a frame.

    Attributes:
        name: `max_prob`, its largest probability, or `entropy`; both are 0 for equal probabilities and 1 for a certain
            frame.
        entropy_type: for `entropy`.
        alpha: the probabilities are raised to this power; below 1 it flattens them.
        entropy_norm: for `entropy`: linear, or exponential.
    """

    name: Literal["max_prob", "entropy"] = "entropy"
    entropy_type: Literal["gibbs", "tsallis", "renyi"] = "tsallis"
    alpha: Alpha = 0.33
    entropy_norm: Literal["lin", "exp"] = "exp"

    IGNORED = frozenset({"temperature"})
    NULL_MEANS = {"alpha": 0.33}


@dataclass(kw_only=True)
class ConfidenceConfig(Section):
    """The confidence of labels and words; it takes effect if one of the `preserve_` keys is true.

    Otherwise the confidence of a label is its mean posterior over its frames, that of a word the lowest of its labels.

    Attributes:
        preserve_frame_confidence: any of the three switches this section on.
        preserve_token_confidence: as above.
        preserve_word_confidence: as above.
        exclude_blank: false counts the blanks behind a label among its frames.
        aggregation: over the frames of a label, and over the labels of a word.
        method_cfg: the confidence of a frame.
    """

    preserve_frame_confidence: bool = False
    preserve_token_confidence: bool = False
    preserve_word_confidence: bool = False
    exclude_blank: bool = True
    aggregation: Literal["mean", "min", "max", "prod"] = "min"
    method_cfg: ConfidenceMethodConfig = field(default_factory=ConfidenceMethodConfig)

    IGNORED = frozenset({"tdt_include_duration"})
    NULL_MEANS = {f"preserve_{what}_confidence": False for what in ("frame", "token", "word")}

    @property
    def is_active(self) -> bool:
        """Whether the section replaces the package's own confidences."""
        return self.preserve_frame_confidence or self.preserve_token_confidence or self.preserve_word_confidence


def read_confidence(plain: Mapping[str, Any]) -> ConfidenceConfig:
    """`ConfidenceConfig` of what `dataclasses.asdict` makes of one."""
    return ConfidenceConfig(**{**plain, "method_cfg": ConfidenceMethodConfig(**plain.get("method_cfg", {}))})
