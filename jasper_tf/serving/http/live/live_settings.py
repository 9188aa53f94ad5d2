"""What the client of a live stream asks for: the message "start", or the query of the address."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from jasper_tf.audio.load import HIGHEST_RATE_HZ, LOWEST_RATE_HZ
from jasper_tf.errors import shorten
from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.decoder_cache import decoding_overrides

_SHORTEST_CHUNK_S = 0.1
_LONGEST_DECODING = 2000
"""Characters; it also bounds how deep it is."""
_MOST_N_BEST = 1024
_LONGEST_WINDOW_S = 60.0
"""A stream may cost the server so much: window / chunk times the work of an offline recognition."""


@dataclass(frozen=True)
class LiveSettings:
    """What the client of a live stream asks for.

    Args:
        sample_rate: of its PCM, Hz; not with `session_id`.
        hot_words: words or phrases that are expected, or a mapping to their weights.
        hot_word_weight: of each of them, where they are a list.
        n_best: how many texts of a line its last final message has.
        decoding: keys of the section `decoding`, such as `{"beam.beam_size": 8}`.
        left_s, chunk_s, right_s, endpoint_s: as `Transcriber.stream` takes them.
        session_id: of a stream to go on with.
        last_seq: number of the last final message that the client has of it.
    """

    sample_rate: int | None = None
    hot_words: list[str] | dict[str, float] | None = None
    hot_word_weight: float | None = None
    n_best: int | None = None
    decoding: dict[str, Any] | None = None
    left_s: float = 4.8
    chunk_s: float = 1.6
    right_s: float = 1.6
    endpoint_s: float = 0.8
    session_id: str | None = None
    last_seq: int = 0

    @classmethod
    def read(cls, values: Mapping[str, Any]) -> LiveSettings:
        """Reads the values of a message; null is as good as absent.

        Raises:
            ApiError: names the field that is unknown or wrong.
        """
        known = [field.name for field in dataclasses.fields(cls)]
        given = {name: value for name, value in values.items() if value is not None}
        if unknown := given.keys() - set(known):
            name = shorten(min(unknown), 60)
            raise _wrong(name, f"is not a field of a live stream; use {', '.join(known)}")
        for name, value in given.items():
            _validate(name, value)
        settings = cls(**given)
        if settings.session_id is None and settings.sample_rate is None:
            raise _wrong("sample_rate", "is missing; state the rate of your PCM, in hertz")
        if settings.chunk_s < _SHORTEST_CHUNK_S:
            raise _wrong("chunk_s", f"{settings.chunk_s:g} s, below {_SHORTEST_CHUNK_S:g} s: costs too much")
        if settings.left_s + settings.chunk_s + settings.right_s > _LONGEST_WINDOW_S:
            raise _wrong("left_s", f"more than {_LONGEST_WINDOW_S:g} s together with chunk_s and right_s")
        if settings.hot_word_weight is None:
            return settings
        if not isinstance(settings.hot_words, list):
            raise _wrong("hot_word_weight", "is for hot_words without weights of their own")
        return dataclasses.replace(settings, hot_words=dict.fromkeys(settings.hot_words, settings.hot_word_weight))

    @property
    def overrides(self) -> list[str]:
        """Of the section `decoding`, as `DecoderCache.get` takes them."""
        found = decoding_overrides(self.decoding or {})
        if self.n_best is not None:
            found.append(f"decoding.beam.n_best={self.n_best}")
        return found

    @property
    def needs_beam(self) -> bool:
        """Whether only a beam search can do what is asked for."""
        return bool(self.hot_words) or self.n_best is not None

    @classmethod
    def read_query(cls, query: Mapping[str, str]) -> LiveSettings:
        """Reads the query of an address: values as in JSON, words without quotes with commas between.

        Raises:
            ApiError: as `read`.
        """
        return cls.read({name: _from_query(name, value) for name, value in query.items()})


def _from_query(name: str, value: str) -> Any:
    if name == "session_id":
        return value
    try:
        found = json.loads(value)
    except (ValueError, RecursionError):
        found = value
    if name == "hot_words" and not isinstance(found, list | dict):
        return [word.strip() for word in value.split(",") if word.strip()]
    return found


def _validate(name: str, value: Any) -> None:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if name == "sample_rate":
        if type(value) is not int or not LOWEST_RATE_HZ <= value <= HIGHEST_RATE_HZ:
            raise _wrong(name, f"must be a whole number from {LOWEST_RATE_HZ} to {HIGHEST_RATE_HZ} Hz")
    elif name == "last_seq":
        if type(value) is not int or value < 0:
            raise _wrong(name, "must be a whole number, 0 or more")
    elif name == "n_best":
        if type(value) is not int or not 1 <= value <= _MOST_N_BEST:
            raise _wrong(name, f"must be a whole number from 1 to {_MOST_N_BEST}")
    elif name == "session_id":
        if not isinstance(value, str):
            raise _wrong(name, "must be a text")
    elif name == "hot_words":
        if not isinstance(value, list | dict) or not all(isinstance(word, str) for word in value):
            raise _wrong(name, "must be a list of words, or words with their weights")
    elif name == "decoding":
        if not isinstance(value, dict):
            raise _wrong(name, 'must be keys with values, such as {"strategy": "beam"}')
        if len(json.dumps(value)) > _LONGEST_DECODING:
            raise _wrong(name, f"more than {_LONGEST_DECODING:,} characters")
    elif not is_number or not abs(value) < 1e6:
        raise _wrong(name, "must be a number")


def _wrong(name: str, what: str) -> ApiError:
    return ApiError(400, f"{name}: {what}", "invalid_value", name)
