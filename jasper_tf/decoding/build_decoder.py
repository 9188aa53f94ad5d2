"""Builds the decoder of the `decoding` section."""

from __future__ import annotations

from jasper_tf.config.decoding_schema import DecodingConfig
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.greedy import GreedyDecoder


def build_decoder(config: DecodingConfig) -> Decoder:
    """Returns the decoder of `config.strategy`; the schema accepts only greedy ones."""
    return GreedyDecoder(config.confidence_cfg, name="decoding")
