"""Builds the decoder of NumPy arrays of the `decoding` section."""

from __future__ import annotations

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.greedy.greedy_array_decoder import GreedyArrayDecoder
from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder
from jasper_tf.text.tokenizer import Tokenizer


def build_array_decoder(config: DecodingConfig, tokenizer: Tokenizer) -> HypothesisDecoder:
    """Returns the decoder of `config.strategy` for arrays in memory; a greedy one needs no Keras.

    Raises:
        UserError: as `build_decoder`.
    """
    if config.is_greedy:
        return GreedyArrayDecoder(config.confidence_cfg)
    from jasper_tf.decoding.build_decoder import build_decoder  # the beam search runs in Keras

    return build_decoder(config, tokenizer)
