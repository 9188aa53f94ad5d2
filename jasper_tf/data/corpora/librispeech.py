"""LibriSpeech (OpenSLR 12) and Mini LibriSpeech (OpenSLR 31), CC BY 4.0.

LibriSpeech/PART/SPEAKER/CHAPTER/SPEAKER-CHAPTER-NUMBER.flac, and SPEAKER-CHAPTER.trans.txt with lines "ID TEXT".
Source: Panayotov et al. 2015, "LibriSpeech: an ASR corpus based on public domain audio books"; the checksums are those
of OpenSLR's md5sum.txt.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jasper_tf.data.corpora.corpus_entry import AUDIO_SUFFIXES, Archive, CorpusEntry
from jasper_tf.errors import UserError

_OPENSLR = "https://www.openslr.org/resources"

LIBRISPEECH = {
    part: Archive(f"{_OPENSLR}/12/{part}.tar.gz", f"md5:{md5}", size)
    for part, md5, size in (
        ("dev-clean", "42e2234ba48799c1f50f24a7926300a1", 338_000_000),
        ("dev-other", "c8d0bcc9cca99d4f8b62fcc847357931", 314_000_000),
        ("test-clean", "32fa31d27d2e1cad72775fee3f4849a9", 347_000_000),
        ("test-other", "fb5a50374b501bb3bac4815ee91d3135", 329_000_000),
        ("train-clean-100", "2a93770f6d5c6c964bc36631d331a522", 6_390_000_000),
        ("train-clean-360", "c0e676e450a7ff2f54aeade5171606fa", 23_000_000_000),
        ("train-other-500", "d1a0fd59409feb2c614ce4d30c387708", 30_600_000_000),
    )
}
MINI_LIBRISPEECH = {
    part: Archive(f"{_OPENSLR}/31/{part}.tar.gz", f"md5:{md5}", size)
    for part, md5, size in (
        ("dev-clean-2", "6d7ab67ac6a1d2c993d050e16d61080d", 126_000_000),
        ("train-clean-5", "5df7d4e78065366204ca6845bb08f490", 333_000_000),
    )
}

_UTTERANCE = re.compile(r"(\d+)-\d+-\d+")


def read_librispeech(folders: Sequence[Path], parts: Sequence[str]) -> dict[str, list[CorpusEntry]]:
    """Every utterance of the parts, under the parts' names; the speaker is the first number of its name.

    Args:
        folders: each is or holds a folder LibriSpeech, or holds folders of parts, or is a part itself.
        parts: their names. Empty: all that are found.

    Raises:
        UserError: a part is missing, or all are.
    """
    found: dict[str, list[Path]] = {}
    for folder in folders:
        for part in _part_folders(folder):
            found.setdefault(part.name, []).append(part)
    missing = [part for part in parts if part not in found]
    if missing or not found:
        wanted = missing[0] if missing else "a part"
        held = f"it holds {', '.join(sorted(found))}" if found else "LibriSpeech/PART/SPEAKER/CHAPTER is expected"
        raise UserError(f"{folders[0]}: {wanted} is not in there ({held})")
    return {part: _read_part(found[part]) for part in (parts or sorted(found))}


def _part_folders(folder: Path) -> list[Path]:
    """The folders PART that have SPEAKER/CHAPTER/SPEAKER-CHAPTER-... in them, at most two levels down."""
    level = [folder]
    for _ in range(3):
        parts = [path for path in level if _is_part(path)]
        if parts:
            return parts
        level = [inner for path in level for inner in sorted(path.iterdir()) if inner.is_dir()]
    return []


def _is_part(folder: Path) -> bool:
    for speaker in folder.iterdir():
        if not speaker.name.isdecimal() or not speaker.is_dir():
            continue
        chapters = (path for path in speaker.iterdir() if path.name.isdecimal() and path.is_dir())
        if any(next(chapter.glob(f"{speaker.name}-{chapter.name}*"), None) for chapter in chapters):
            return True
    return False


def _read_part(folders: Sequence[Path]) -> list[CorpusEntry]:
    recordings: list[CorpusEntry] = []
    for folder in folders:
        for chapter in sorted(path for path in folder.glob("*/*") if path.is_dir()):
            sounds = {path.stem: path for path in sorted(chapter.iterdir()) if path.suffix.lower() in AUDIO_SUFFIXES}
            texts: dict[str, str] = {}
            for transcripts in sorted(chapter.glob("*.trans.txt")):
                for line in transcripts.read_text(encoding="utf-8", errors="replace").splitlines():
                    name, _, text = line.strip().partition(" ")
                    if name:
                        texts[name] = text
            for name in sorted(sounds.keys() | texts.keys()):
                path = sounds.get(name, chapter / f"{name}.flac")
                matched = _UTTERANCE.fullmatch(name)
                speaker = matched[1] if matched else chapter.parent.name
                recordings.append(CorpusEntry(path, texts.get(name), speaker))
    return recordings
