"""AN4, the alphanumeric database of CMU (1991): an4_sphere.tar.gz, and the git archive of WAV files.

etc/an4_{train,test}.fileids name the audio files under wav/, without suffix; etc/an4_{train,test}.transcription has a
line "<s> TEXT </s> (NAME)" for each. The folder of an audio file is its speaker.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from jasper_tf.data.corpora.corpus_entry import AUDIO_SUFFIXES, Archive, CorpusEntry
from jasper_tf.errors import UserError

AN4 = {
    "an4_sphere": Archive("https://dldata-public.s3.us-east-2.amazonaws.com/an4_sphere.tar.gz", None, 64_000_000),
}
"""The copy that NeMo's tutorials take; CMU's own server often does not respond. No checksum is published."""

SPLITS = ("train", "test")

_LINE = re.compile(r"(?P<text>.*)\((?P<name>[^()\s]+)\)\s*")


def read_an4(folders: Sequence[Path], parts: Sequence[str]) -> dict[str, list[CorpusEntry]]:
    """The utterances of "train" and "test".

    Args:
        folders: the first one is or holds the folder of etc/ and wav/, at most two levels down.
        parts: "train", "test". Empty: both.

    Raises:
        UserError: etc/ and wav/ are missing, or a split's file is.
    """
    root = _find_root(folders[0])
    return {split: _read_split(root, split) for split in (parts or SPLITS)}


def _find_root(folder: Path) -> Path:
    for pattern in ("etc", "*/etc", "*/*/etc"):
        for etc in sorted(folder.glob(pattern)):
            if (etc / "an4_train.transcription").is_file() or (etc / "an4_test.transcription").is_file():
                return etc.parent
    raise UserError(f"{folder}: no etc/an4_train.transcription in there; give the folder that holds etc/ and wav/")


def _read_split(root: Path, split: str) -> list[CorpusEntry]:
    transcripts = root / "etc" / f"an4_{split}.transcription"
    try:
        lines = transcripts.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError as error:
        raise UserError(f"{transcripts}: cannot be read ({error.strerror})") from None
    sounds = {path.stem: path for path in sorted((root / "wav").rglob("*")) if path.suffix.lower() in AUDIO_SUFFIXES}
    ids = root / "etc" / f"an4_{split}.fileids"
    listed = ids.read_text(encoding="utf-8").split() if ids.is_file() else []
    files = {Path(name).name: root / "wav" / name for name in listed}
    texts: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        matched = _LINE.fullmatch(line)
        if matched is None:
            raise UserError(
                f"{transcripts}:{number}: {line[:60]!r} does not end with the name of a file in parentheses"
            )
        texts[matched["name"]] = re.sub(r"</?s>", " ", matched["text"]).strip()
    recordings = []
    for name in dict.fromkeys([*texts, *files]):
        path = sounds.get(name) or files.get(name, root / "wav" / name)
        recordings.append(CorpusEntry(path, texts.get(name), path.parent.name))
    return recordings
