"""Manifests: one JSON object per line and utterance."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from jasper_tf.data.audio import audio_duration_s
from jasper_tf.errors import UserError

_OWN_KEYS = ("audio_filepath", "offset", "duration", "text", "text_filepath")


@dataclass(frozen=True)
class Utterance:
    """A stretch of a sound file and what is said in it."""

    path: str
    offset_s: float
    duration_s: float
    text: str
    source: str
    """Where it was written: "manifest:line"."""
    extra: dict[str, Any] = field(default_factory=dict)
    """Every key of the line that has no meaning here, unchanged."""


def manifest_paths(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> list[str]:
    """One path, several separated by commas (as in NeMo), or a list of those -> list of paths, `~` expanded.

    Raises:
        UserError: no path is given.
    """
    entries = [paths] if isinstance(paths, (str, os.PathLike)) else list(paths)
    parts = [part.strip() for entry in entries for part in os.fspath(entry).split(",")]
    found = [os.path.expanduser(part) for part in parts if part]
    if not found:
        raise UserError("manifest_filepath: no manifest is given; name a file of JSON lines")
    return found


def read_manifest(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> list[Utterance]:
    """Reads manifests in the layout of NeMo: the utterances in the order of the lines, file after file.

    Keys of a line: `audio_filepath` (absolute, or relative to the manifest), `duration` in seconds (when missing, read
    from the sound file's header), `text` or `text_filepath` (relative as above; its line ends become spaces), `offset`
    in seconds (default 0). Other keys go to `Utterance.extra`. A byte order mark, CRLF and blank lines are tolerated.

    Args:
        paths: a path, several separated by commas, or a list of paths.

    Raises:
        UserError: a manifest is missing or without a single utterance, or lines are broken: the first one's manifest,
            line and reason, and how many more there are.
    """
    utterances: list[Utterance] = []
    broken: list[str] = []
    for manifest in manifest_paths(paths):
        before = len(utterances) + len(broken)
        try:
            with open(manifest, "rb") as lines:
                # Bytes are split at \n only: str.splitlines would also cut at U+2028 inside a text.
                for number, line in enumerate(lines, start=1):
                    source = f"{manifest}:{number}"
                    try:
                        utterance = _parse_line(line, os.path.dirname(os.path.abspath(manifest)), source)
                    except UserError as error:
                        broken.append(f"{source}: {error}")
                    else:
                        if utterance is not None:
                            utterances.append(utterance)
        except OSError as error:
            raise UserError(f"{manifest}: the manifest cannot be read ({error.strerror}); check the path") from None
        if len(utterances) + len(broken) == before:
            raise UserError(f"{manifest}: the manifest holds no utterance; write one JSON object per line")
    if broken:
        more = len(broken) - 1
        rest = f" (and {more} more broken line{'s' if more > 1 else ''})" if more else ""
        raise UserError(broken[0] + rest)
    return utterances


def _parse_line(line: bytes, folder: str, source: str) -> Utterance | None:
    try:
        content = line.decode("utf-8").lstrip("\ufeff").strip()
    except UnicodeDecodeError as error:
        raise UserError(f"byte {error.start + 1} is not UTF-8; save the manifest as UTF-8") from None
    if not content:
        return None
    try:
        entry = json.loads(content)
    except ValueError as error:
        raise UserError(f"not JSON ({error}); write one JSON object per line") from None
    if not isinstance(entry, dict):
        raise UserError(f"a JSON {type(entry).__name__}, not an object; write {{...}} on every line")

    path = _existing_file(entry, "audio_filepath", folder)
    if path is None:
        raise UserError("audio_filepath is missing; name the sound file")
    offset_s = _seconds(entry, "offset") or 0.0
    duration_s = _seconds(entry, "duration")
    if duration_s is None:
        duration_s = audio_duration_s(path) - offset_s
    if duration_s <= 0:
        if entry.get("duration") is None:
            raise UserError(f"offset {offset_s:g} s lies behind the end of {path}")
        raise UserError("duration is 0; give the length in seconds or leave the key out")
    extra = {key: value for key, value in entry.items() if key not in _OWN_KEYS}
    return Utterance(path, offset_s, duration_s, _text(entry, folder), source, extra)


def _existing_file(entry: dict, key: str, folder: str) -> str | None:
    """The path under `key`, relative ones from the manifest's folder; None when the key is absent."""
    value = entry.get(key)
    if value is None:
        return None
    if not isinstance(value, str) or not value:
        raise UserError(f"{key} is {value!r}; it must be a path")
    path = os.path.join(folder, os.path.expanduser(value))
    if not os.path.isfile(path):
        raise UserError(f"{key}: no such file {path}")
    return path


def _seconds(entry: dict, key: str) -> float | None:
    value = entry.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value) or value < 0:
        raise UserError(f"{key} is {value!r}; it must be a number of seconds, 0 or more")
    return float(value)


def _text(entry: dict, folder: str) -> str:
    text = entry.get("text")
    if text is not None:
        if not isinstance(text, str):
            raise UserError(f"text is {text!r}; it must be a string")
        return text
    path = _existing_file(entry, "text_filepath", folder)
    if path is None:
        raise UserError("neither text nor text_filepath is there; give what is said")
    try:
        with open(path, encoding="utf-8-sig") as file:
            return " ".join(file.read().split())
    except UnicodeDecodeError:
        raise UserError(f"text_filepath: {path} is not UTF-8") from None
    except OSError as error:
        raise UserError(f"text_filepath: {path} cannot be read ({error.strerror})") from None
