"""An entry of a corpus: an audio file and its transcript; and the archives of a corpus."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class CorpusEntry:
    """An audio file and its transcript.

    Attributes:
        path: the audio file.
        text: the transcript, as the corpus writes it; None when there is no transcript.
        speaker: who speaks; None when it is not known.
        trouble: why it cannot be used ("row 7: ..."); "" if nothing is known to be wrong.
    """

    path: Path
    text: str | None
    speaker: str | None = None
    trouble: str = ""


@dataclass(frozen=True)
class Archive:
    """A file to download.

    Attributes:
        url: its address.
        checksum: "md5:..." or "sha256:..."; None if none is published.
        size: bytes, about.
    """

    url: str
    checksum: str | None
    size: int

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]


AUDIO_SUFFIXES = frozenset(
    ".wav .flac .ogg .oga .opus .mp3 .sph .aiff .aif .aifc .au .snd .w64 .caf .m4a .aac .wma .amr .webm .mp4".split()
)
"""Files with these suffixes are audio files. Those that cannot be decoded are then named one by one."""
