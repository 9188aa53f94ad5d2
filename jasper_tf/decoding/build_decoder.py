"""Builds the decoder of the `decoding` section."""

from __future__ import annotations

from jasper_tf.config.decoding_schema import DecodingConfig
from jasper_tf.decoding.beam import BeamDecoder
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.greedy import GreedyDecoder
from jasper_tf.decoding.language_model import LanguageModel
from jasper_tf.text.tokenizer import Tokenizer


def build_decoder(
    config: DecodingConfig, tokenizer: Tokenizer | None = None, language_model: LanguageModel | None = None
) -> Decoder:
    """Returns the decoder of `config.strategy`.

    Args:
        config: the section.
        tokenizer: of the model; the greedy decoder needs none.
        language_model: that of `config.beam`, where it is read already. Default: it is read.

    Raises:
        UserError: the language model or the hot words cannot be used.
    """
    if config.is_greedy:
        return GreedyDecoder(config.confidence_cfg, name="decoding")
    if tokenizer is None:
        raise ValueError("a beam search needs the tokenizer")
    return BeamDecoder(
        tokenizer, config.beam_settings(), language_model, confidence=config.confidence_cfg, name="decoding"
    )
