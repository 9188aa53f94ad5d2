"""From the `decoding` section to its decoder."""

from __future__ import annotations

from jasper_tf.config.decoding_schema import DecodingConfig
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.greedy import GreedyDecoder


def build_decoder(config: DecodingConfig) -> Decoder:
    """The decoder of `config.strategy`."""
    return GreedyDecoder(name="decoding")
