"""Reads any folder of audio files, with a .txt of the same name next to each or with one table for all."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from jasper_tf.data.corpora.corpus_entry import AUDIO_SUFFIXES, CorpusEntry
from jasper_tf.data.corpora.table import AUDIO_COLUMNS, SPEAKER_COLUMNS, TEXT_COLUMNS, Table
from jasper_tf.errors import UserError


@dataclass(frozen=True)
class FolderLayout:
    """Where a folder keeps transcripts and speakers.

    Attributes:
        table: a CSV or TSV; paths in it are relative to it, or to the folder. None: .txt files.
        audio_column, text_column, speaker_column: the table's columns. None: found by their usual names.
        speaker_from_folder: the name of the folder of an audio file is its speaker.
    """

    table: Path | None = None
    audio_column: str | None = None
    text_column: str | None = None
    speaker_column: str | None = None
    speaker_from_folder: bool = False


def read_folder(folder: Path, layout: FolderLayout) -> list[CorpusEntry]:
    """Every audio file of the folder and its subfolders, or every row of the table.

    Raises:
        UserError: there is no audio file, or the table is broken.
    """
    if layout.table is not None:
        return _read_table(folder, layout.table, layout)
    recordings = []
    for path in sorted(path for path in folder.rglob("*") if path.suffix.lower() in AUDIO_SUFFIXES):
        if not path.is_file() or path.name.startswith("._"):  # macOS keeps a file's attributes in one named ._FILE
            continue
        text, trouble = _read_transcript(path)
        recordings.append(CorpusEntry(path, text, _speaker(path, folder, layout), trouble))
    if not recordings:
        raise UserError(f"{folder}: no audio file in there ({' '.join(sorted(AUDIO_SUFFIXES))})")
    if all(recording.text is None and not recording.trouble for recording in recordings):
        tables = sorted(path.name for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
        hint = f"; it holds {', '.join(tables)}: give one with --table" if tables else "; or give a table with --table"
        raise UserError(
            f"{folder}: none of {len(recordings)} audio files has a transcript; "
            f"{recordings[0].path.with_suffix('.txt').name} is expected beside {recordings[0].path.name}{hint}"
        )
    return recordings


def transcripts_without_audio(folder: Path, recordings: Sequence[CorpusEntry]) -> list[Path]:
    """The .txt files of the folder and its subfolders that are beside no recording of their name."""
    used = {place for recording in recordings for place in _transcript_places(recording.path)}
    found = (path for path in folder.rglob("*.txt") if path not in used and not path.name.startswith("._"))
    return sorted(path for path in found if path.is_file())


def _transcript_places(audio_file: Path) -> tuple[Path, Path]:
    return audio_file.with_suffix(".txt"), audio_file.with_name(f"{audio_file.name}.txt")


def _speaker(path: Path, folder: Path, layout: FolderLayout) -> str | None:
    # A file of the top folder is in no speaker's folder.
    return path.parent.name if layout.speaker_from_folder and path.parent != folder else None


def _read_transcript(audio_file: Path) -> tuple[str | None, str]:
    path = next((path for path in _transcript_places(audio_file) if path.is_file()), None)
    if path is None:
        return None, ""
    try:
        return " ".join(path.read_text(encoding="utf-8-sig").split()), ""
    except UnicodeDecodeError:
        return None, f"{path.name} is not UTF-8"
    except OSError as error:
        return None, f"{path.name} cannot be read ({error.strerror})"


def _find_audio(name: str, folders: Sequence[Path]) -> Path:
    """The file in the first of the folders that has it, or where the first would; `\\` may be written for `/`."""
    names = [os.path.expanduser(name), name.replace("\\", "/")]
    candidates = [folder / spelled for spelled in names for folder in folders]
    # os.path.isfile, not Path.is_file: that one raises for names that are too long and folders that are closed.
    return next((path for path in candidates if os.path.isfile(path)), candidates[0])


def _read_table(folder: Path, path: Path, layout: FolderLayout) -> list[CorpusEntry]:
    table = Table(path)
    audio = table.column("--audio-column", layout.audio_column, AUDIO_COLUMNS)
    text = table.column("--text-column", layout.text_column, TEXT_COLUMNS)
    speaker = table.column("--speaker-column", layout.speaker_column, SPEAKER_COLUMNS, needed=False)
    if layout.speaker_from_folder:
        speaker = None
    assert audio and text
    recordings = []
    for line, row, trouble in table.rows():
        if row is None:
            recordings.append(CorpusEntry(path, None, None, trouble))
            continue
        name = row[audio].strip()
        if not name:
            recordings.append(CorpusEntry(path, None, None, f"line {line}: no audio file is named"))
            continue
        audio_file = _find_audio(name, (path.parent, folder))
        who = (row[speaker].strip() or None) if speaker else _speaker(audio_file, folder, layout)
        recordings.append(CorpusEntry(audio_file, row[text], who))
    if not recordings:
        raise UserError(f"{path}: holds no row below its header")
    return recordings
