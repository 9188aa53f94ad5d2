"""16-bit samples from a pipe, while they are recorded."""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from jasper_tf.audio.pcm import to_float
from jasper_tf.errors import AudioError

_BLOCK_BYTES = 1 << 16
_LARGEST_CHUNK = 1 << 20
"""Of a header; only `data` is longer."""

_UNKNOWN_BYTES = 0x7FFF0000
"""A size of `data` from here on, or 0, was written into a pipe before the end was known: FFmpeg's, SoX's, arecord's."""

_EXTENSIBLE = 0xFFFE

_ENCODED = (b"ID3", b"fLaC", b"OggS", b"FORM", b"\x1a\x45\xdf\xa3")
"""How MP3, FLAC, Ogg, AIFF and Matroska files begin. An MP3 without a tag begins as samples may."""


class PcmStream:
    """Signed 16-bit little-endian samples of one channel, raw or behind a WAV header, as arecord, sox and FFmpeg write.

    Where the header knows how many there are, what follows them is not read: notes and pictures.

    Args:
        file: a binary file whose `read1` returns what is there, such as `sys.stdin.buffer`.
        sample_rate: of raw samples, Hz.
        name: of the file, for messages.

    Raises:
        AudioError: a WAV header that is cut, or states another format than 16 bits and one channel; an encoded file.

    Attributes:
        sample_rate: Hz; a WAV header states its own.
    """

    def __init__(self, file: BinaryIO, sample_rate: int = 16000, name: str = "standard input"):
        self._file, self._name, self.sample_rate = file, name, sample_rate
        self._left = sys.maxsize  # bytes of samples
        self._begun = self._read(4)
        if self._begun.startswith(_ENCODED):
            detail = "is an encoded file; send samples: ffmpeg -i FILE -f s16le -ar 16000 -ac 1 -"
            raise AudioError(self._name, "not_audio", detail)
        if self._begun in (b"RIFF", b"RF64"):
            self._begun = b""
            self._read_header()

    def blocks(self) -> Iterator[np.ndarray]:
        """Yields audio [S] float32 as it comes; a last odd byte is no sample."""
        rest = self._begun
        while data := self._file.read1(min(_BLOCK_BYTES, self._left)):  # type: ignore[attr-defined]  # see `file`
            self._left -= len(data)
            data = rest + data
            whole = len(data) // 2 * 2
            yield to_float(np.frombuffer(data[:whole], "<i2"))
            rest = data[whole:]
        if len(rest) > 1:
            yield to_float(np.frombuffer(rest[: len(rest) // 2 * 2], "<i2"))

    def _read(self, size: int) -> bytes:
        """`size` bytes, or fewer at the end."""
        found = b""
        while len(found) < size and (data := self._file.read(size - len(found))):
            found += data
        return found

    def _read_header(self) -> None:
        if self._read(8)[4:] != b"WAVE":
            raise AudioError(self._name, "not_audio", "begins like a WAV file and is none; send 16-bit samples")
        while True:
            head = self._read(8)
            if len(head) < 8:
                raise AudioError(self._name, "cut", "the WAV header is cut off; send it whole, or raw 16-bit samples")
            kind, size = struct.unpack("<4sI", head)
            if kind == b"data":
                if 0 < size < _UNKNOWN_BYTES:
                    self._left = size
                return
            if size > _LARGEST_CHUNK:
                raise AudioError(self._name, "not_audio", "its WAV header is damaged; send raw 16-bit samples")
            content = self._read(size + size % 2)
            if kind == b"fmt " and len(content) >= 16:
                form, channels, self.sample_rate, _, _, bits = struct.unpack("<HHIIHH", content[:16])
                if form not in (1, _EXTENSIBLE) or channels != 1 or bits != 16:
                    detail = f"is WAV of {channels} channels and {bits} bits; send one channel of 16 bits"
                    raise AudioError(self._name, "channel" if channels != 1 else "not_audio", detail)
