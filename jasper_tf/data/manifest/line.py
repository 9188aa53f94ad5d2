"""Parses a line of a manifest."""

from __future__ import annotations

import functools
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import IO, Any, Literal

import orjson

from jasper_tf.audio.load import audio_duration_s
from jasper_tf.errors import AudioError, UserError
from jasper_tf.io.bounded_file import read_bounded
from jasper_tf.io.file_access import why_no_access
from jasper_tf.io.remote import is_remote

LONGEST_LINE = 1 << 20
"""Bytes of a line."""
_OWN_KEYS = ("audio_filepath", "offset", "duration", "text", "text_filepath", "record")
LONGEST_S = 1e9
"""Seconds of an offset or a duration."""
_LONGEST_TEXT = 1 << 20
_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")
"""Characters that would break a message of one line."""


class LineFileError(UserError):
    """A file that a line names and that cannot be used; the message is `key: detail`.

    Args:
        key: of the line, audio_filepath or text_filepath.
        kind: what is wrong, for programs.
        detail: the path, what is wrong and what to do, for a message.
    """

    def __init__(self, key: str, kind: Literal["missing", "unreadable"], detail: str):
        super().__init__(f"{key}: {detail}")
        self.key = key
        self.kind = kind
        self.detail = detail

    def __reduce__(self) -> tuple:
        return type(self), (self.key, self.kind, self.detail)


@dataclass(frozen=True)
class Utterance:
    """A part of an audio file and its transcript."""

    path: str
    offset_s: float
    duration_s: float
    text: str
    source: str
    """The line that it is from: "manifest:line"."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Every key of the line that has no meaning here, unchanged."""
    record: tuple[int, int] | None = None
    """First byte and size of the part of `path` that holds the audio, if that is a shard or an archive."""


def read_lines(file: IO[bytes], start: int = 0, end: float = math.inf) -> Iterator[tuple[int, int, bytes]]:
    """Number (from 1), first byte and bytes of each line that begins in [start, end); lines end at \\n only.

    One above `LONGEST_LINE` is cut, and the last: it may never end.
    """
    file.seek(start)
    # str.splitlines would also cut at U+2028 inside a text.
    for number, line in enumerate(iter(functools.partial(file.readline, LONGEST_LINE + 1), b""), start=1):
        if start >= end:
            return
        yield number, start, line
        start += len(line)
        if len(line) > LONGEST_LINE:
            return


def parse_line(
    line: bytes,
    folder: str,
    source: str,
    *,
    duration_s: float | None = None,
    files_exist: bool = False,
    texts: bool = True,
) -> Utterance | None:
    """One line of a manifest -> the utterance, or None for a blank line.

    Args:
        line: the bytes, with or without their line end.
        folder: where relative paths begin.
        source: "manifest:line".
        duration_s: what an earlier reading of the same line gave. Default: the line's, or else the audio file's header.
        files_exist: takes the files for granted: an earlier reading saw them, or loading them will tell. A duration
            that neither the line nor the file gives is then 0. Default: they are looked for.
        texts: whether a line must have a text; without it is empty.

    Raises:
        UserError: why it is not an utterance, without the source.
    """
    fields = read_fields(line, folder, duration_s, files_exist, texts)
    if fields is None:
        return None
    entry, path, offset_s, duration_s, text = fields
    extra = {key: value for key, value in entry.items() if key not in _OWN_KEYS}
    return Utterance(path, offset_s, duration_s, text, source, extra, _record(entry))


def read_fields(
    line: bytes, folder: str, duration_s: float | None = None, files_exist: bool = False, texts: bool = True
) -> tuple[dict[str, Any], str, float, float, str] | None:
    """`parse_line` for millions of lines: the JSON object, path, offset_s, duration_s and text."""
    entry = read_object(line)
    if entry is None:
        return None
    path, offset_s, declared_s = read_part_of_file(entry, folder, files_exist)
    if duration_s is None:
        duration_s = declared_s
        if duration_s is None:
            if entry.get("record") is not None:
                raise UserError("duration is missing; recordings in shards or tar files need it")
            try:
                duration_s = audio_duration_s(path) - offset_s
                if duration_s <= 0:
                    raise AudioError(path, "outside", f"offset {offset_s:g} s is beyond the end of the file")
            except AudioError:
                if not files_exist:
                    raise
                duration_s = 0.0  # whoever loads it learns the reason
        elif duration_s == 0:
            raise UserError("duration is 0; give the length in seconds or leave the key out")
        _record(entry)
    return entry, path, offset_s, duration_s, _text(entry, folder, texts)


def read_part_of_file(entry: dict[str, Any], folder: str, files_exist: bool = False) -> tuple[str, float, float | None]:
    """Path, offset and duration in seconds of a line's object; None without a duration.

    Raises:
        UserError: a key is missing or has a wrong value, or the file does not exist.
    """
    path = _existing_file(entry, "audio_filepath", folder, files_exist)
    if path is None:
        raise UserError("audio_filepath is missing; name the audio file")
    return path, _seconds(entry, "offset") or 0.0, _seconds(entry, "duration")


def read_object(line: bytes) -> dict[str, Any] | None:
    """The JSON object of a line, None for a blank one.

    Raises:
        UserError: it is not a JSON object.
    """
    if len(line) > LONGEST_LINE:
        raise UserError(f"longer than {LONGEST_LINE:,} bytes; write one JSON object per line")
    if line.startswith(b"\xef\xbb\xbf"):
        line = line[3:]
    if not line.strip():
        return None
    try:
        entry = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _read_carefully(line)
    # As many keys as quotes with a colon: none is repeated.
    spaced = b'" ' in line or b'"\t' in line or b'"\r' in line
    if not isinstance(entry, dict) or line.count(b'":') != len(entry) or spaced:
        return _read_carefully(line)
    return entry


def _read_carefully(line: bytes) -> dict[str, Any]:
    """`read_object` with the reason for an error: too slow for millions of lines."""

    def without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        entry = dict(pairs)
        if len(entry) < len(pairs):
            keys = [key for key, _ in pairs]
            twice = next(key for key in keys if keys.count(key) > 1)
            raise UserError(f"the key {twice!r} is there twice; keep one")
        return entry

    try:
        content = line.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"byte {error.start + 1} is not UTF-8; save the manifest as UTF-8") from None
    try:
        entry = json.loads(content, object_pairs_hook=without_repeats)
    except UserError:
        raise
    except (ValueError, RecursionError) as error:
        cut = "" if content.endswith("\n") or content.rstrip().endswith("}") else "; the line is cut off"
        raise UserError(f"not JSON ({error}){cut}; write one JSON object per line") from None
    try:
        json.dumps(entry, ensure_ascii=False).encode()
    except RecursionError:
        raise UserError("nested too deeply; write plain keys and values") from None
    except UnicodeEncodeError:
        raise UserError(
            "holds half of a character (\\ud800 to \\udfff without its other half); write it again"
        ) from None
    if not isinstance(entry, dict):
        raise UserError(f"a JSON {type(entry).__name__}, not an object; write {{...}} on every line")
    return entry


def _existing_file(entry: dict, key: str, folder: str, exists: bool) -> str | None:
    """The path under `key`, relative ones from the manifest's folder; None when the key is absent."""
    value = entry.get(key)
    if value is None:
        return None
    # The path is part of messages of one line.
    if not isinstance(value, str) or not value or _CONTROL.search(value):
        raise UserError(f"{key} is {_short(value)}; it must be a path")
    if value[0] == "~":
        value = os.path.expanduser(value)
    path = value if value[0] == "/" or is_remote(value) else f"{folder}/{value}"
    if exists or is_remote(path):
        return path
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            return path
    except OSError:
        pass
    wrong = why_no_access(path)
    if wrong and wrong.kind == "unreadable":
        raise LineFileError(key, wrong.kind, f"{path} {wrong.reason}")
    slashes = value.replace("\\", "/")
    hint = f"; Windows separators: write {slashes}" if slashes != value else ""
    raise LineFileError(key, "missing", f"no such file {path}{hint}")


def _seconds(entry: dict, key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if type(value) is float and 0 <= value <= LONGEST_S:
        return value
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value <= LONGEST_S:
        raise UserError(f"{key} is {_short(value)}; it must be a number of seconds, 0 or more")
    return float(value)


def _short(value: Any) -> str:
    written = repr(value)
    return written if len(written) <= 60 else written[:57] + "..."


def _record(entry: dict) -> tuple[int, int] | None:
    value = entry.get("record")
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != 2 or not all(type(n) is int and 0 <= n < 1 << 62 for n in value):
        raise UserError(f"record is {_short(value)}; it must be [first byte, bytes], as `shard` writes it")
    return value[0], value[1]


def _text(entry: dict, folder: str, required: bool) -> str:
    text = entry.get("text")
    if text is not None:
        if not isinstance(text, str):
            raise UserError(f"text is {_short(text)}; it must be a string")
        return text
    path = _existing_file(entry, "text_filepath", folder, False)
    if path is None and not required:
        return ""
    if path is None:
        raise UserError("neither text nor text_filepath is there; give the transcript")
    try:
        return " ".join(read_bounded(path, _LONGEST_TEXT, "transcript").decode("utf-8-sig").split())
    except UnicodeDecodeError:
        raise UserError(f"text_filepath: {path} is not UTF-8") from None
    except UserError as error:
        raise UserError(f"text_filepath: {error}") from None
