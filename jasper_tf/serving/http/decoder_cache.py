"""Decoders for the options of requests."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections import OrderedDict
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from jasper_tf.config.decoding_overrides import override_decoding
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.config.source import COMMAND_LINE
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords
from jasper_tf.errors import UserError
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.serving.http.api_error import ApiError

if TYPE_CHECKING:  # TensorFlow is loaded while the server listens already
    from jasper_tf.decoding.beam.language_model import LanguageModel
    from jasper_tf.decoding.decoder import Decoder

_KEPT = 8
_DEEPEST = 3
"""Keys in each other, of the section `decoding`."""
_OF_THE_SERVER = ("ngram_lm_model", "kenlm_path", "jit_compile")
"""Keys of the beam that name files of the server, or cost seconds for each length."""


class DecoderCache:
    """The decoders that requests asked for, the latest ones; all share the server's language model.

    Args:
        transcriber: of the server.
        config: the section `decoding` that it uses.
        max_beam_size: largest beam that a request may ask for.
    """

    def __init__(self, transcriber: Transcriber, config: DecodingConfig, max_beam_size: int):
        self._model = transcriber.model
        self._own: Any = transcriber.decoder or transcriber.model.decoding
        self._config = config
        self._max_beam_size = max_beam_size
        self._decoders: OrderedDict[str, Decoder] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, overrides: list[str], needs_beam: bool) -> Decoder | None:
        """The decoder of the server's section `decoding` with changes; None: without any, the server's own.

        Args:
            overrides: `decoding.KEY=value`.
            needs_beam: whether a greedy decoder is replaced by a beam search, unless an override says which.

        Raises:
            ApiError: a key is unknown, a value is wrong or not for requests.
        """
        if needs_beam and self._config.is_greedy:
            overrides = ["decoding.strategy=beam", *overrides]
        if not overrides:
            return None  # to read the section would cost a third of a short recording's work
        try:
            config = override_decoding(self._config, overrides)
        except UserError as error:
            raise _wrong(str(error).removeprefix(f"{COMMAND_LINE}: ")) from None
        if config == self._config:
            return None
        self._validate(config)
        key = json.dumps(dataclasses.asdict(config), sort_keys=True)
        with self._lock:
            if key not in self._decoders:
                self._decoders[key] = self._build(config)
                if len(self._decoders) > _KEPT:
                    self._decoders.popitem(last=False)
            self._decoders.move_to_end(key)
            return self._decoders[key]

    def validate_hot_words(self, hot_words: GivenHotWords, decoder: Decoder | None) -> None:
        """Requires that the decoder, or the server's own, can use them.

        Raises:
            ApiError: it cannot; says which word.
        """
        try:
            (decoder or self._own).encode_hot_words(hot_words)
        except UserError as error:
            raise ApiError(400, str(error), "invalid_value", "hot_words") from None

    def _validate(self, config: DecodingConfig) -> None:
        beam, own = config.beam, self._config.beam
        for key in _OF_THE_SERVER:
            if getattr(beam, key) != getattr(own, key):
                raise _wrong(f"decoding.beam.{key}: is set when the server starts, not by a request")
        if isinstance(beam.hot_words, str) and beam.hot_words != own.hot_words:
            raise _wrong("decoding.beam.hot_words: names a file of the server; send the words as the field hot_words")
        largest = max(self._max_beam_size, own.beam_size)
        if beam.beam_size > largest:
            raise _wrong(f"decoding.beam.beam_size: {beam.beam_size}; this server allows {largest} (--max-beam-size)")
        if (wanted := beam.n_best or 1) > beam.beam_size:
            raise _wrong(f"{wanted} hypotheses, but a beam of {beam.beam_size}; add decoding beam.beam_size={wanted}")

    def _build(self, config: DecodingConfig) -> Decoder:
        from jasper_tf.decoding.build_decoder import build_decoder  # TensorFlow is there by now

        try:
            return build_decoder(config, self._model.tokenizer, self._language_model())
        except UserError as error:
            raise _wrong(str(error)) from None

    def _language_model(self) -> LanguageModel | None:
        own = self._own.decoder() if hasattr(self._own, "decoder") else self._own
        return getattr(own, "language_model", None)


def decoding_overrides(values: Mapping[str, Any]) -> list[str]:
    """Keys of the section `decoding`, nested or with dots, as `decoding.KEY=value` for `DecoderCache.get`."""
    return [f"decoding.{key}={value}" for key, value in _flatten(values, ())]


def _flatten(values: Mapping[str, Any], parents: tuple[str, ...]) -> list[tuple[str, str]]:
    found = []
    for key, value in values.items():
        keys = (*parents, key)
        if isinstance(value, dict) and len(parents) < _DEEPEST and keys != ("beam", "hot_words"):
            found += _flatten(value, keys)
        else:
            found.append((".".join(keys), json.dumps(value)))  # JSON is YAML
    return found


def _wrong(message: str) -> ApiError:
    return ApiError(400, message, "invalid_value", "decoding")
