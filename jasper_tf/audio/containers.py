"""Finds cut and mislabeled Ogg and MP3 files, which libsndfile reads without an error."""

from __future__ import annotations

import mmap
import os
import re
import struct
from typing import NamedTuple

import soundfile

from jasper_tf.errors import AudioError

_PCM = 1
_HEADER_BYTES = 44
_LARGEST_OGG_PAGE = 65307
_END_OF_STREAM = 4

_VORBIS_BLOCK = 8192
_MP3_PREROLL_FRAMES = 16 * 1152
"""An MP3 frame may use bits of several frames before it: main_data_begin reaches back 511 bytes."""

_MP3_RATES = (44100, 48000, 32000)
_MP3_KBPS = {
    True: (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    False: (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
"""Layer III bit rates from index 1 on, by whether it is MPEG 1 (else 2 or 2.5): ISO 11172-3, 2.4.2.3; ISO 13818-3."""


def validate_length(path: str, file: soundfile.SoundFile) -> None:
    """Refuses a file whose end is missing or whose header states a wrong length; libsndfile would not report it.

    An MP3 that is cut exactly between two frames and has no frame that states its length (Xing, Info, VBRI) cannot be
    told from a whole one: such a cut is not found.
    """
    seconds = file.frames / file.samplerate
    if file.format == "OGG" and ogg_lacks_its_end(path):
        detail = f"the file is cut off: audio up to {seconds:.2f} s, but the Ogg stream goes on"
        raise AudioError(path, "cut", f"{detail}; copy it again or leave it out")
    found = mp3_frames(path) if file.format == "MP3" else None
    if found is None:
        return
    counted_s = found.samples / file.samplerate
    # Encoder delay and padding are four frames at most.
    if found.samples > file.frames + 4 * found.per_frame:
        detail = f"its header promises {seconds:.2f} s, but there are {counted_s:.2f} s of audio"
        raise AudioError(path, "longer", f"{detail}; write it again (ffmpeg -i OLD NEW)")
    if found.is_cut:
        detail = f"the file is cut off: audio up to {counted_s:.2f} s, where it ends inside a frame"
        raise AudioError(path, "cut", f"{detail}; copy it again or leave it out")


def preroll_frames(path: str, file: soundfile.SoundFile, start: int) -> int:
    """How many frames before frame `start` must be decoded and discarded so that the frames from `start` on are exact.

    After a seek the first frames of an MP3 are wrong. In the last page of Ogg Vorbis libvorbis seeks to a wrong sample:
    it counts back from the page's end, where the stream may end in the middle of a packet.
    """
    if file.format == "MP3":
        return min(start, _MP3_PREROLL_FRAMES)
    if file.subtype == "VORBIS" and start:
        return max(0, start - max(0, last_ogg_page(path) - _VORBIS_BLOCK))
    return 0


def plain_wav_header(file_bytes: int, sample_rate: int) -> bytes:
    """The 44-byte header of a 16-bit mono WAV file of `file_bytes` bytes that has only the fmt and data chunks."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, sample_rate, 2 * sample_rate, 2, 16)
    data = struct.pack("<4sI", b"data", file_bytes - _HEADER_BYTES)
    return struct.pack("<4sI4s", b"RIFF", file_bytes - 8, b"WAVE") + fmt + data


def ogg_lacks_its_end(path: str) -> bool:
    """Whether a file's last Ogg page is cut or does not end the stream; libsndfile reads it without an error.

    Source: RFC 3533, section 6: header_type_flag 0x04, "last page of a logical bitstream".
    """
    tail = _ogg_tail(path)
    if not tail:
        return False
    page = tail.rfind(b"OggS")
    if page < 0 or len(tail) < page + 27:
        return page >= 0
    segments = tail[page + 27 : page + 27 + tail[page + 26]]
    whole = len(segments) == tail[page + 26] and len(tail) >= page + 27 + len(segments) + sum(segments)
    return not whole or not tail[page + 5] & _END_OF_STREAM


def last_ogg_page(path: str) -> int:
    """The sample at which an Ogg file's last page begins; 0 if that is the only one with audio."""
    tail = _ogg_tail(path)
    page = tail.rfind(b"OggS")
    while page > 0 and (page := tail.rfind(b"OggS", 0, page)) >= 0:
        (position,) = struct.unpack_from("<q", tail, page + 6)
        if position >= 0:  # -1: no packet ends there
            return position
    return 0


def _ogg_tail(path: str) -> bytes:
    """The end of an Ogg file, long enough for two pages; empty for other files."""
    try:
        with open(path, "rb") as file:
            if file.read(4) != b"OggS":
                return b""
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * (_LARGEST_OGG_PAGE + 27)))
            return file.read()
    except OSError:
        return b""


def may_be_mp3(head: bytes) -> bool:
    """Whether a file that begins with `head` (3 bytes or more) may be an MP3 file."""
    return head[:3] == b"ID3" or head[:1] == b"\xff"


def missing_mp3_bytes(path: str) -> int:
    """Bytes that the first frame (Xing, Info) of an MP3 file states and that are missing; 0 for other files."""
    try:
        with open(path, "rb") as file:
            head = file.read(10)
            if not may_be_mp3(head):
                return 0
            first = _after_id3(head, 0)
            file.seek(first)
            head = file.read(64)
            left = os.fstat(file.fileno()).st_size - first
    except OSError:
        return 0
    found = re.search(rb"(?:Xing|Info)\0\0\0([\x02\x03\x06\x07\x0a\x0b\x0e\x0f])", head)
    if not found:
        return 0
    at = found.end() + 4 * (found[1][0] & 1)  # after the number of frames
    return max(0, int.from_bytes(head[at : at + 4], "big") - left)


class Mp3Frames(NamedTuple):
    """The samples in the frames of an MP3 file.

    Args:
        samples: of all whole frames, with encoder delay and padding, without the frame that states the length.
        per_frame: samples of one frame.
        is_cut: whether the file ends inside a frame.
    """

    samples: int
    per_frame: int
    is_cut: bool


def mp3_frames(path: str) -> Mp3Frames | None:
    """Counts the frames of an MP3 file; tags before and after (ID3, APE, Lyrics3) are skipped.

    None if the frames do not follow each other, as after damage: then there is nothing to compare a header with.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _follow_mp3_frames(data)
    except (OSError, ValueError):
        return None


def _after_id3(head: bytes, at: int) -> int:
    """Where an ID3v2 tag ends that begins at `at` with the ten bytes `head`; `at` if there is none."""
    if head[:3] != b"ID3" or len(head) < 10:
        return at
    a, b, c, d = head[6:]  # seven bits each
    return at + 10 + (a << 21 | b << 14 | c << 7 | d)


def _follow_mp3_frames(data: mmap.mmap) -> Mp3Frames | None:
    size, at, frames, per_frame = len(data), 0, 0, 0
    while (after := _after_id3(data[at : at + 10], at)) > at:
        at = after
    first = at
    while at + 4 <= size:
        head = int.from_bytes(data[at : at + 4], "big")
        version, rate_index, kbps_index = head >> 19 & 3, head >> 10 & 3, head >> 12 & 15
        if head >> 21 != 0x7FF or version == 1 or head >> 17 & 3 != 1 or rate_index == 3 or not 0 < kbps_index < 15:
            if frames and data[at : at + 8].startswith((b"TAG", b"ID3", b"APETAGEX", b"LYRICS")):
                return Mp3Frames(frames * per_frame, per_frame, False)
            return None
        rate = _MP3_RATES[rate_index] >> (3 - version if version else 2)
        per_frame = 1152 if version == 3 else 576
        frame_bytes = per_frame // 8 * 1000 * _MP3_KBPS[version == 3][kbps_index - 1] // rate + (head >> 9 & 1)
        if at + frame_bytes > size:
            break
        states_length = at == first and any(name in data[at : at + 64] for name in (b"Xing", b"Info", b"VBRI"))
        frames += not states_length
        at += frame_bytes
    # Fewer than four bytes are left, or a frame that is not whole.
    is_cut = at < size and data[at] == 0xFF
    return Mp3Frames(frames * per_frame, per_frame, is_cut) if frames else None
