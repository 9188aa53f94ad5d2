"""Recordings that a command line names: files, folders, patterns, manifests and standard input."""

from __future__ import annotations

import glob
import io
import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import PurePath
from typing import Any, BinaryIO, cast

from jasper_tf.data.manifest.line import parse_line, read_lines, read_object
from jasper_tf.errors import AudioError, UserError
from jasper_tf.io.file_access import require_regular_file, why_no_access
from jasper_tf.io.object_storage import StorageError, read_remote
from jasper_tf.io.remote import is_remote

STDIN = "-"

AUDIO_SUFFIXES = frozenset(
    ".wav .wave .flac .ogg .oga .opus .mp3 .aif .aiff .aifc .au .snd .caf .w64 .rf64 .sph .voc "
    ".m4a .m4b .mp4 .m4v .mov .3gp .webm .mkv .mka .wma .wmv .asf .aac .amr".split()
)
"""What is taken from a folder; a file that is named is read whatever its suffix."""

_MANIFESTS = frozenset((".json", ".jsonl"))
_TEXTS = frozenset(".txt .csv .tsv .srt .vtt .md .yaml .yml .toml .xml .html .py".split())


@dataclass(frozen=True)
class Input:
    """One recording to transcribe, or the reason why there is none.

    Attributes:
        name: path of the audio; "-" for standard input.
        source: what `open_recording` takes; None with an error.
        error: what is wrong.
        absent: nothing of this name exists.
        line: "manifest:line" of a manifest's recording, else "".
        part: offset and duration in seconds, of a manifest's recording, under the manifest's keys.
    """

    name: str
    source: Any = None
    error: UserError | None = None
    absent: bool = False
    line: str = ""
    part: dict[str, float] = field(default_factory=dict)


def find_inputs(arguments: Iterable[str], stdin: BinaryIO | None) -> list[Input]:
    """Finds the recordings of a command line, in its order; of a folder or a pattern, in the order of the paths.

    A folder is searched to its depths for files with one of `AUDIO_SUFFIXES`; hidden ones are left out. A pattern (`*`,
    `?`, `[...]`, `**` for folders) that no shell has expanded is expanded. Of a manifest (.json, .jsonl) offset and
    duration are kept, and its texts are not read. "-" is an audio file on `stdin`.

    Raises:
        UserError: "-" is there twice, or standard input is a terminal or closed.
    """
    found: list[Input] = []
    for argument in arguments:
        if argument == STDIN:
            if any(one.name == STDIN for one in found):
                raise UserError("-: is there twice; standard input is read once")
            if stdin is None or stdin.isatty():
                raise UserError("-: standard input is a terminal or closed; pipe an audio file into it")
            found.append(Input(STDIN, stdin))
        elif not is_remote(argument) and not os.path.lexists(argument) and any(c in argument for c in "*?["):
            matches = sorted(glob.glob(argument, recursive=True))
            if not matches:
                found.append(_wrong(argument, "matches no file; check the pattern", absent=True))
            for match in matches:
                found.extend(_of_path(match))
        else:
            found.extend(_of_path(argument))
    return found


def output_names(inputs: Iterable[Input]) -> list[str]:
    """A file name without a suffix for each recording: its own name, with a number where that is taken.

    Names that differ in case only count as the same, as on some file systems they are.
    """
    names: list[str] = []
    taken: set[str] = set()
    for one in inputs:
        stem = "stdin" if one.name == STDIN else PurePath(one.name).stem or "recording"
        name, number = stem, 1
        while name.casefold() in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name.casefold())
        names.append(name)
    return names


def _of_path(path: str) -> list[Input]:
    if os.path.isdir(path):
        files = [Input(file, file) for file in sorted(_files_below(path))]
        return files or [_wrong(path, "holds no audio files; name recordings, or a folder with them")]
    suffix = PurePath(path).suffix.lower()
    if suffix in _MANIFESTS:
        try:
            return list(_of_manifest(path)) or [_wrong(path, "the manifest holds no recording")]
        except UserError as error:
            absent = error.kind == "missing" if isinstance(error, StorageError) else not os.path.lexists(path)
            return [Input(path, error=error, absent=absent)]
    if suffix in _TEXTS and os.path.isfile(path):
        return [_wrong(path, f"is a {suffix} file, not a recording; name audio, a folder or a manifest (.jsonl)")]
    if not is_remote(path) and (wrong := why_no_access(path)):
        return [Input(path, error=AudioError(path, *wrong), absent=wrong[0] == "missing")]
    return [Input(path, path)]


def _files_below(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if not name.startswith(".") and PurePath(name).suffix.lower() in AUDIO_SUFFIXES:
                yield os.path.join(place, name)


def _of_manifest(path: str) -> Iterator[Input]:
    if is_remote(path):
        folder, opened = path.rpartition("/")[0], cast(BinaryIO, io.BytesIO(read_remote(path)))
    else:
        require_regular_file(path, "manifest")
        folder, opened = os.path.dirname(os.path.abspath(path)), open(path, "rb")
    found = False
    with opened as file:
        for number, _, line in read_lines(file):
            where = f"{path}:{number}"
            try:
                entry = read_object(line)
                if entry is None:
                    continue
                if "audio_filepath" not in entry:
                    raise UserError("has no audio_filepath")
                found = True
                # Its text, or the file that holds it, is not needed.
                utterance = parse_line(json.dumps({**entry, "text": ""}).encode(), folder, where)
            except UserError as error:
                if not found:
                    raise UserError(f"{where}: {error}; name a manifest of JSON lines") from None
                yield Input(where, error=UserError(f"{where}: {error}"), line=where)
            else:
                assert utterance is not None
                part = {"offset": utterance.offset_s, "duration": utterance.duration_s}
                yield Input(utterance.path, utterance, line=where, part=part)


def _wrong(path: str, reason: str, absent: bool = False) -> Input:
    return Input(path, error=UserError(f"{path}: {reason}"), absent=absent)
