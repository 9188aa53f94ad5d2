"""Compares the length that the header of an audio file states with the bytes that follow.

libsndfile reads a file that ends early as if it were whole. FLAC, Ogg and MP3 are not checked here: the decoder reports
a cut, or `containers` finds it. IRCAM, PAF and PVF state no length: only a cut inside a frame is found. XI as
libsndfile writes it states none either: a cut is not found. HTK is recognized by its length alone.
"""

from __future__ import annotations

import os
import re
import struct
from typing import BinaryIO, Literal, NamedTuple

import soundfile

_MOST_CHUNKS = 1000
"""Chunks that are searched for the samples; real files have about ten."""

_UNKNOWN = {3: 1 << 24, 4: 0x7FFFF000, 8: 1 << 62}
"""By the bytes of a size field: from this value on it states no length, as streaming writers leave the largest one."""

_SAMPLE_BYTES = {
    **{"PCM_S8": 1, "PCM_U8": 1, "PCM_16": 2, "PCM_24": 3, "PCM_32": 4},
    **{"ALAW": 1, "ULAW": 1, "FLOAT": 4, "DOUBLE": 8},
}


class _Chunks(NamedTuple):
    """How a container writes its chunks: name, size, body.

    Args:
        magic: how the file begins.
        first: where the first chunk begins.
        name: bytes of a chunk's name.
        size: bytes of its size.
        order: of the size's bytes.
        samples: how the names of the chunks with the samples begin.
        align: chunks begin at multiples of it.
        counted: bytes of name and size that the size includes.
        lead: bytes of the body before the samples.
    """

    magic: bytes
    first: int
    name: int
    size: int
    order: Literal["little", "big"]
    samples: tuple[bytes, ...]
    align: int = 1
    counted: int = 0
    lead: int = 0


_CHUNKED = (
    _Chunks(b"RIFF", 12, 4, 4, "little", (b"data",), align=2),
    _Chunks(b"RIFX", 12, 4, 4, "big", (b"data",), align=2),
    _Chunks(b"RF64", 12, 4, 4, "little", (b"data",), align=2),
    _Chunks(b"FORM", 12, 4, 4, "big", (b"SSND",), align=2, lead=8),  # AIFF
    _Chunks(b"FORM", 12, 4, 4, "big", (b"BODY",), align=2),  # SVX
    _Chunks(b"riff", 40, 16, 8, "little", (b"data",), align=8, counted=24),  # W64
    _Chunks(b"caff", 8, 4, 8, "big", (b"data",), lead=4),
    _Chunks(b"Creative Voice File", 26, 1, 3, "little", (b"\x01", b"\x09")),
)

_FRAMES_AT = (  # how the file begins, where it states its frames, and how
    (b"2BIT", 26, ">I"),
    (b"\x01\x04", 30, "<I"),  # MPC2K
    (b"ALawSoundFile**", 18, ">I"),  # WVE
    (b"\0\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\x0b\0\0\0samplerate", 47, "<I"),  # MAT4
    (b"\0\0\x03\xe8\0\0\0\1\0\0\0\1\0\0\0\0\0\0\0\x0bsamplerate", 47, ">I"),
)
_AU_ORDER = {b".snd": ">II", b"dns.": "<II"}
_WITHOUT_LENGTH = {"IRCAM": 1024, "PAF": 2048, "PVF": 0}
"""Bytes of the header; PVF's is two lines."""
_CHECKED_BY_OTHERS = ("FLAC", "OGG", "MP3")
_LONGEST_HEAD = 1024


def missing_bytes(path: str) -> int:
    """How many bytes of audio a file lacks; 0 also for formats that do not state bytes."""
    return _lost(path)[0]


def missing_frames(path: str, file: soundfile.SoundFile) -> int:
    """How many frames `file`, opened from `path`, lacks of those that its header announces.

    For encodings that pack frames (ADPCM, GSM) it is an estimate, at least 1.
    """
    if file.format in _CHECKED_BY_OTHERS:
        return 0
    width = _SAMPLE_BYTES.get(file.subtype, 0) * file.channels
    if file.format in _WITHOUT_LENGTH:
        block = 32 * file.channels if file.format == "PAF" and file.subtype == "PCM_24" else width
        return int(_bytes_behind_header(path, file.format) % block > 0)
    lost, present, frames = _lost(path)
    if frames is not None:
        return max(0, frames - file.frames)
    if not lost:
        return 0
    if width:
        return (present + lost) // width - present // width
    return max(1, round(file.frames * lost / max(present, 1)))


def _bytes_behind_header(path: str, container: str) -> int:
    try:
        with open(path, "rb") as file:
            header = _WITHOUT_LENGTH[container] or file.read(_LONGEST_HEAD).index(b"\n", 5) + 1
            return os.fstat(file.fileno()).st_size - header
    except (OSError, ValueError):
        return 0


def _lost(path: str) -> tuple[int, int, int | None]:
    """Bytes of audio that are missing and that are present, and the number of frames where the header states that."""
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            head = file.read(_LONGEST_HEAD)
            frames = _announced_frames(head)
            begin, announced = (0, 0) if frames is not None else _announced_bytes(file, head, size)
    except (OSError, struct.error):
        return 0, 0, None
    present = max(0, min(announced, size - begin))
    return announced - present, present, frames


def _announced_frames(head: bytes) -> int | None:
    for magic, at, form in _FRAMES_AT:
        if head.startswith(magic):
            return struct.unpack_from(form, head, at)[0]
    if head.startswith(b"NIST_1A") and (found := re.search(rb"\nsample_count -i (\d{1,15})\s", head)):
        return int(found.group(1))
    return None


def _announced_bytes(file: BinaryIO, head: bytes, size: int) -> tuple[int, int]:
    """Where the samples begin and how many bytes of them the header states; (0, 0) if it states none."""
    if form := _AU_ORDER.get(head[:4]):
        begin, announced = struct.unpack_from(form, head, 4)
        return (begin, announced) if announced < _UNKNOWN[4] else (0, 0)
    if head.startswith(b"MATLAB 5.0") and (name := head.find(b"wavedata")) > 0:
        (announced,) = struct.unpack_from("<I" if head[126:128] == b"IM" else ">I", head, name + 12)
        return name + 16, announced
    for kind in _CHUNKED:
        if head.startswith(kind.magic) and (found := _find_samples(file, head, size, kind)):
            return found
    return 0, 0


def _find_samples(file: BinaryIO, head: bytes, size: int, kind: _Chunks) -> tuple[int, int] | None:
    at = kind.first
    for _ in range(_MOST_CHUNKS):
        body = at + kind.name + kind.size
        if body > size:
            break
        chunk = head[at:body]
        if body > len(head):
            file.seek(at)
            chunk = file.read(body - at)
        length = max(0, int.from_bytes(chunk[kind.name :], kind.order) - kind.counted)
        if chunk.startswith(kind.samples):
            unknown = _UNKNOWN[kind.size]
            if kind.magic == b"RF64" and length == 0xFFFFFFFF:
                (length,) = struct.unpack_from("<Q", head, 28)  # of the ds64 chunk, which is the first
                unknown = _UNKNOWN[8]
            return (body + kind.lead, max(0, length - kind.lead)) if length < unknown else None
        at = body + length
        at += -at % kind.align
    return None
