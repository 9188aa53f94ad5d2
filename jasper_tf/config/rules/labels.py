"""Rules of `model.labels`, `model.tokenizer` and of what repeats them."""

from __future__ import annotations

from jasper_tf.config.section import MISSING
from jasper_tf.config.sections.model_schema import ModelConfig
from jasper_tf.config.source import ConfigSource, Keys
from jasper_tf.errors import shorten


def check_labels(model: ModelConfig, source: ConfigSource) -> None:
    """Checks that labels are single characters, each once, and that copies of them agree. Raises UserError."""
    labels = model.labels
    if model.tokenizer is not None:
        if labels:
            raise source.error(("model", "labels"), "model.tokenizer is given too; give one of the two")
        return
    if labels is None:
        raise source.error(("model", "labels"), "this key is missing; give a list of strings, or model.tokenizer")
    if labels == MISSING:
        return
    if not labels:
        raise source.error(("model", "labels"), "no labels; list the characters that the model may write")
    first: dict[str, int] = {}
    for i, label in enumerate(labels):
        at = ("model", "labels", str(i))
        if len(label) != 1 and label != MISSING:
            raise source.error(at, f"'{shorten(label)}' is not a single character")
        if first.setdefault(label, i) != i:
            raise source.error(at, f"the label '{label}' is already entry {first[label]}; keep one")
    copies: list[tuple[Keys, list[str] | None]] = [(("model", n, "labels"), d.labels) for n, d in model.datasets()]
    for keys, copy in [*copies, (("model", "decoder", "vocabulary"), model.decoder.vocabulary)]:
        if copy not in (None, MISSING, [], labels):
            raise source.error(keys, "differs from model.labels; leave the key out or repeat them in the same order")
    if model.decoder.num_classes not in (-1, MISSING, len(labels)):
        raise source.error(
            ("model", "decoder", "num_classes"),
            f"{model.decoder.num_classes}, but model.labels has {len(labels)} (the blank is not counted)",
        )
