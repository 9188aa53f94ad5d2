"""The fields of a request for a transcription: OpenAI's, and our own."""

from __future__ import annotations

import difflib
import json
import re
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile

from jasper_tf.decoding.beam.hot_word_file import LARGEST_WEIGHT
from jasper_tf.errors import shorten
from jasper_tf.serving.http.api_error import ApiError
from jasper_tf.serving.http.decoder_cache import decoding_overrides

RESPONSE_FORMATS = ("json", "text", "srt", "verbose_json", "vtt")

_ACCEPTED = ("model", "language", "languages", "prompt", "chunking_strategy")
"""OpenAI's fields that change nothing here: the server has one model, of one language, and cuts long audio itself."""
_OWN = ("hot_words", "hot_word_weight", "n_best", "decoding")
_FIELDS = (
    *("file", "response_format", "timestamp_granularities", "stream", "include", "keywords", "temperature"),
    *_ACCEPTED,
    *_OWN,
)
_LONGEST_DECODING = 10_000
_GRANULARITIES = ("word", "segment")
_BRACKETS = re.compile(r"([^\[\]]+)((?:\[[^\[\]]*\])*)")
"""Clients write lists and mappings as `a[]=1&a[]=2` and `a[b]=1`."""


@dataclass(frozen=True)
class TranscriptionForm:
    """A request for a transcription.

    Attributes:
        upload: the recording.
        response_format: one of `RESPONSE_FORMATS`.
        stream: whether the text is sent while it is found, as server-sent events.
        words, segments: what verbose_json has.
        logprobs: whether json has `logprobs`.
        language: that the client named, else "".
        temperature: 0 to 1, without effect.
        hot_words: words with their weights, or words that gain what the server says; None: those of the server.
        overrides: `decoding.KEY=value`.
        needs_beam: whether a field has a meaning for the beam search only.
    """

    upload: UploadFile
    response_format: str
    stream: bool
    words: bool
    segments: bool
    logprobs: bool
    language: str
    temperature: float
    hot_words: dict[str, float] | list[str] | None
    overrides: list[str]
    needs_beam: bool

    @property
    def needs_words(self) -> bool:
        """Whether the answer is made of words with times and confidences, not of the text alone."""
        return self.stream or self.logprobs or self.response_format not in ("json", "text")

    @classmethod
    def read(cls, form: FormData) -> TranscriptionForm:
        """Reads the fields.

        Raises:
            ApiError: a field is missing, unknown, or has a wrong value.
        """
        fields = _Fields(form)
        response_format = fields.choice("response_format", RESPONSE_FORMATS, "json")
        granularities = fields.choices("timestamp_granularities", _GRANULARITIES)
        if granularities and response_format != "verbose_json":
            raise _wrong("timestamp_granularities", "needs response_format=verbose_json")
        stream = fields.flag("stream")
        if stream and response_format not in ("json", "text", "verbose_json"):
            raise _wrong("stream", f"{response_format} is written when all is known; choose response_format=json")
        logprobs = bool(fields.choices("include", ("logprobs",)))
        if logprobs and response_format != "json":
            raise _wrong("include", "logprobs are part of response_format=json only")
        hot_words = fields.hot_words()
        n_best = fields.n_best()
        return cls(
            upload=fields.upload(),
            response_format=response_format,
            stream=stream,
            words="word" in granularities,
            segments="segment" in granularities or not granularities,
            logprobs=logprobs,
            language=fields.text("language"),
            temperature=fields.number("temperature", 0.0, 1.0) or 0.0,
            hot_words=hot_words,
            overrides=[*n_best, *fields.overrides()],
            needs_beam=bool(hot_words or n_best),
        )


class _Fields:
    """The values of a form by field; each with its path of brackets."""

    def __init__(self, form: FormData):
        self._values: dict[str, list[tuple[list[str], str | UploadFile]]] = {}
        for key, value in form.multi_items():
            match = _BRACKETS.fullmatch(key)
            name = match[1] if match else key
            if name not in _FIELDS:
                near = difflib.get_close_matches(name, _FIELDS, n=1)
                hint = f"did you mean {near[0]}?" if near else "leave it out"
                message = f"Unknown field {shorten(name, 60)!r}; {hint}"
                raise ApiError(400, message, "unknown_parameter", shorten(name, 60))
            path = [part for part in re.findall(r"\[([^\[\]]*)\]", match[2] if match else "")]
            self._values.setdefault(name, []).append((path, value))

    def upload(self) -> UploadFile:
        given = self._values.get("file", [])
        if not given:
            raise ApiError(400, "The field file is missing; send the recording as it.", "missing_parameter", "file")
        upload = given[0][1]
        if len(given) > 1 or not isinstance(upload, UploadFile):
            raise _wrong("file", "send one file, with its name, as multipart/form-data")
        if not upload.size:
            raise ApiError(400, f"{shorten(upload.filename, 80)}: the file is empty", "empty", "file")
        return upload

    def text(self, name: str) -> str:
        texts = self.texts(name)
        if len(texts) > 1:
            raise _wrong(name, "is there several times")
        return texts[0] if texts else ""

    def texts(self, name: str) -> list[str]:
        texts = []
        for _, value in self._values.get(name, []):
            if not isinstance(value, str):
                raise _wrong(name, "is a file, but should be text")
            texts.append(value.strip())
        return texts

    def choice(self, name: str, known: tuple[str, ...], default: str) -> str:
        value = self.text(name) or default
        if value not in known:
            raise _wrong(name, f"{shorten(value, 60)!r} is none of {', '.join(known)}")
        return value

    def choices(self, name: str, known: tuple[str, ...]) -> list[str]:
        values = [value for text in self.texts(name) for value in text.split(",") if value]
        for value in values:
            if value not in known:
                raise _wrong(name, f"{shorten(value, 60)!r} is none of {', '.join(known)}")
        return values

    def flag(self, name: str) -> bool:
        return self.choice(name, ("true", "false", "True", "False", "1", "0"), "false") in ("true", "True", "1")

    def number(self, name: str, low: float, high: float) -> float | None:
        text = self.text(name)
        if not text:
            return None
        try:
            value = float(text)
        except ValueError:
            value = float("nan")
        if not low <= value <= high:
            raise _wrong(name, f"{shorten(text, 60)!r} is not a number from {low:g} to {high:g}")
        return value

    def hot_words(self) -> dict[str, float] | list[str] | None:
        """JSON, a list (with commas, or the field several times), or `hot_words[word]=weight`; also as `keywords`."""
        weights: dict[Any, Any] = {}
        words: list[Any] = []
        for name in ("hot_words", "keywords"):
            for (path, _), text in zip(self._values.get(name, []), self.texts(name), strict=True):
                if path and path[0]:
                    weights[path[0]] = _number(name, text)
                elif text[:1] in ("{", "["):
                    found = _json(name, text)
                    weights |= found if isinstance(found, dict) else {}
                    words += found if isinstance(found, list) else []
                else:
                    words += [word for part in re.split(r"[,\n]", text) if (word := part.strip())]
        if not all(isinstance(word, str) for word in words):
            raise _wrong("hot_words", "the list holds something else than words")
        if words and weights:
            raise _wrong("hot_words", "give all words their weights, or none")
        weight = self.number("hot_word_weight", -LARGEST_WEIGHT, LARGEST_WEIGHT)
        if weight is not None:
            if not words:
                raise _wrong("hot_word_weight", "is for hot_words without weights of their own")
            return dict.fromkeys(words, weight)
        return weights or words or None

    def overrides(self) -> list[str]:
        """`decoding.KEY=value` of the field decoding: JSON, lines, or `decoding[a][b]=value`."""
        found: list[str] = []
        for (path, _), text in zip(self._values.get("decoding", []), self.texts("decoding"), strict=True):
            if len(text) > _LONGEST_DECODING:
                raise _wrong("decoding", f"has {len(text):,} characters, more than {_LONGEST_DECODING:,}")
            if any(path):
                found.append(f"decoding.{'.'.join(path)}={text}")
            elif text.startswith("{"):
                found += decoding_overrides(_json("decoding", text))
            else:
                for line in filter(None, map(str.strip, text.splitlines())):
                    if "=" not in line:
                        raise _wrong("decoding", f"{shorten(line, 60)!r} is neither JSON nor KEY=value")
                    found.append(f"decoding.{line.removeprefix('decoding.')}")
        return found

    def n_best(self) -> list[str]:
        """The field n_best as `decoding.KEY=value`."""
        count = self.number("n_best", 1, 1024)
        if count is None:
            return []
        if count != int(count):
            raise _wrong("n_best", "is not a whole number")
        return [f"decoding.beam.n_best={int(count)}"]


def _json(name: str, text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _wrong(name, f"is not JSON ({shorten(error, 80)})") from None


def _number(name: str, text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise _wrong(name, f"{shorten(text, 60)!r} is not a number") from None


def _wrong(name: str, problem: str) -> ApiError:
    return ApiError(400, f"{name}: {problem}", "invalid_value", name)
