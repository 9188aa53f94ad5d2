"""Builds the decoder of the `decoding` section."""

from __future__ import annotations

import os

from jasper_tf.config.sections.decoding_schema import BeamConfig, DecodingConfig
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.language_model import LanguageModel
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.errors import UserError, shorten
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
    beam = config.beam_settings()
    if language_model is None:
        _require_language_model(beam)
    return BeamDecoder(tokenizer, beam, language_model, confidence=config.confidence_cfg, name="decoding")


def _require_language_model(beam: BeamConfig) -> None:
    """Says what to do where a model was moved without its language model."""
    path = beam.language_model
    if path is not None and not os.path.isfile(path):
        key = "ngram_lm_model" if beam.ngram_lm_model else "kenlm_path"
        raise UserError(
            f"decoding.beam.{key}: {shorten(path)}: no such file; give decoding.beam.{key}=FILE, "
            "or decoding.strategy=greedy"
        )
