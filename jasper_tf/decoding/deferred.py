"""The decoder that a model brings, built when it is needed."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import keras

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.hypotheses import Hypotheses
from jasper_tf.text.tokenizer import Tokenizer, tokenizer_from_config


@keras.saving.register_keras_serializable(package="jasper_tf")
class DeferredDecoder(Decoder):
    """Builds the decoder of a configuration at its first use.

    To read a language model takes seconds, and its file may be on another machine: training, alignment and the decoders
    of others need none.

    Args:
        config: a `DecodingConfig`, or its keys.
        tokenizer: of the model, or its config.
    """

    def __init__(
        self, config: DecodingConfig | Mapping[str, Any], tokenizer: Tokenizer | Mapping[str, Any], **kwargs: Any
    ):
        self.config = config if isinstance(config, DecodingConfig) else DecodingConfig(**config)
        super().__init__(**{**kwargs, "confidence": self.config.confidence_cfg})
        self.tokenizer = tokenizer if isinstance(tokenizer, Tokenizer) else tokenizer_from_config(dict(tokenizer))
        self._build_once = functools.cache(lambda: build_decoder(self.config, self.tokenizer))

    def decoder(self) -> Decoder:
        """The decoder.

        Raises:
            UserError: as `build_decoder`.
        """
        # No property: Keras reads those of all layers when it saves or loads a model.
        if keras.backend.backend() != "tensorflow":
            return self._build_once()
        import tensorflow as tf  # the only backend whose constants belong to the graph that is being traced

        with tf.init_scope():
            return self._build_once()

    def __call__(self, *args: Any, **kwargs: Any) -> Hypotheses:
        self.decoder()  # Keras makes paragraphs of the errors of `call`
        return super().__call__(*args, **kwargs)

    def call(self, log_probs, logit_len, hot_words: Any = None) -> Hypotheses:
        decoder = self.decoder()
        return decoder(log_probs, logit_len) if hot_words is None else decoder(log_probs, logit_len, hot_words)

    def decode(self, log_probs, logit_len, hot_words: GivenHotWords | None = None) -> Hypotheses:
        return self.decoder().decode(log_probs, logit_len, hot_words)

    def encode_hot_words(self, hot_words: GivenHotWords) -> Any:
        return self.decoder().encode_hot_words(hot_words)

    def compute_output_spec(self, log_probs, logit_len, hot_words=None) -> Hypotheses:
        return self.decoder().compute_output_spec(log_probs, logit_len)

    def get_config(self) -> dict[str, Any]:
        config = super().get_config()
        del config["confidence"]
        return {**config, "config": dataclasses.asdict(self.config), "tokenizer": self.tokenizer.get_config()}
