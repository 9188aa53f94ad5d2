"""What the containers of sound files really hold, where libsndfile takes a header's word or says nothing."""

from __future__ import annotations

import mmap
import os
import struct

import soundfile

from jasper_tf.errors import UserError

_PCM = 1
_HEADER_BYTES = 44
_FRAME_PER_BLOCK = (_PCM, 3, 6, 7, 0xFFFE)
"""WAV encodings with one frame in a block: PCM, float, A-law, mu-law, extensible."""

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
"""Of layer III, by whether it is MPEG 1 (else 2 or 2.5), from index 1 on: ISO 11172-3, 2.4.2.3 and ISO 13818-3."""


def refuse_wrong_length(path: str, file: soundfile.SoundFile) -> None:
    """Raises UserError where libsndfile would leave out sound behind a wrong end without a word."""
    if file.format == "OGG" and ogg_lacks_its_end(path):
        raise UserError(
            f"{path}: the file is cut off: sound up to {file.frames / file.samplerate:.2f} s, "
            "but the Ogg stream goes on; copy it again or remove its line"
        )
    counted = mp3_samples(path) if file.format == "MP3" else None
    # Encoder delay and padding are four frames at most.
    if counted and counted[0] > file.frames + 4 * counted[1]:
        raise UserError(
            f"{path}: its header promises {file.frames / file.samplerate:.2f} s, but there are "
            f"{counted[0] / file.samplerate:.2f} s of sound; write it anew (ffmpeg -i OLD NEW)"
        )


def preroll_frames(path: str, file: soundfile.SoundFile, start: int) -> int:
    """How many frames before frame `start` a read must begin, and throw away, to be exact from there on.

    Where an MP3 is entered its first frames come out wrong; in the last page of Ogg Vorbis libvorbis goes to a wrong
    sample, for it counts back from the page's end, where the stream may end in the middle of a packet.
    """
    if file.format == "MP3":
        return min(start, _MP3_PREROLL_FRAMES)
    if file.subtype == "VORBIS" and start:
        return max(0, start - max(0, last_ogg_page(path) - _VORBIS_BLOCK))
    return 0


def plain_wav_header(file_bytes: int, sample_rate: int) -> bytes:
    """The 44 bytes before the samples of a 16-bit mono WAV of that size with nothing but its fmt and data chunks."""
    fmt = struct.pack("<4sIHHIIHH", b"fmt ", 16, _PCM, 1, sample_rate, 2 * sample_rate, 2, 16)
    data = struct.pack("<4sI", b"data", file_bytes - _HEADER_BYTES)
    return struct.pack("<4sI4s", b"RIFF", file_bytes - 8, b"WAVE") + fmt + data


def missing_wav_frames(path: str) -> int:
    """Frames that a WAV's header promises and the file lacks; libsndfile reads such a file without a word."""
    try:
        with open(path, "rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            riff, _, wave = struct.unpack("<4sI4s", file.read(12))
            if (riff, wave) != (b"RIFF", b"WAVE"):
                return 0
            encoding = block_bytes = 0
            while True:
                name, size = struct.unpack("<4sI", file.read(8))
                if name == b"data":
                    break
                body = file.tell()
                if name == b"fmt ":
                    encoding, _, _, _, block_bytes = struct.unpack("<HHIIH", file.read(14))
                file.seek(body + size + size % 2)
            missing = max(0, file.tell() + size - file_bytes)
    except (OSError, struct.error):
        return 0
    # Writers that stream cannot know the size and leave the largest number there.
    if size >= 0x7FFFF000 or not block_bytes or encoding not in _FRAME_PER_BLOCK:
        return 0
    return missing // block_bytes


def ogg_lacks_its_end(path: str) -> bool:
    """Whether an Ogg file's last page is cut or does not end the stream; libsndfile takes what there is for the whole.

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
    """The sample at which an Ogg file's last page begins; 0 if that is the only one with sound."""
    tail = _ogg_tail(path)
    page = tail.rfind(b"OggS")
    while page > 0 and (page := tail.rfind(b"OggS", 0, page)) >= 0:
        (position,) = struct.unpack_from("<q", tail, page + 6)
        if position >= 0:  # -1: no packet ends there
            return position
    return 0


def _ogg_tail(path: str) -> bytes:
    """Enough of the end of a file for two pages."""
    try:
        with open(path, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 2 * (_LARGEST_OGG_PAGE + 27)))
            return file.read()
    except OSError:
        return b""


def mp3_samples(path: str) -> tuple[int, int] | None:
    """The samples in a layer III file, found by going from frame to frame, and the samples of one frame.

    Encoder delay and padding are counted, the frame that holds the length (Xing, Info, VBRI) is not. None where the
    frames do not follow each other, as after damage: then there is nothing to compare a header with.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _count_mp3_samples(data)
    except (OSError, ValueError):
        return None


def _count_mp3_samples(data: mmap.mmap) -> tuple[int, int] | None:
    size, at, frames, per_frame = len(data), 0, 0, 0
    while data[at : at + 3] == b"ID3" and at + 10 <= size:
        a, b, c, d = data[at + 6 : at + 10]  # seven bits each
        at += 10 + (a << 21 | b << 14 | c << 7 | d)
    first = at
    while at + 4 <= size:
        head = int.from_bytes(data[at : at + 4], "big")
        version, rate_index, kbps_index = head >> 19 & 3, head >> 10 & 3, head >> 12 & 15
        if head >> 21 != 0x7FF or version == 1 or head >> 17 & 3 != 1 or rate_index == 3 or not 0 < kbps_index < 15:
            tag = data[at : at + 8]
            if frames and (tag[:3] in (b"TAG", b"ID3") or tag == b"APETAGEX" or tag[:6] == b"LYRICS"):
                break
            return None
        rate = _MP3_RATES[rate_index] >> (3 - version if version else 2)
        per_frame = 1152 if version == 3 else 576
        frame_bytes = per_frame // 8 * 1000 * _MP3_KBPS[version == 3][kbps_index - 1] // rate + (head >> 9 & 1)
        if at + frame_bytes > size:
            break
        states_length = at == first and any(name in data[at : at + 64] for name in (b"Xing", b"Info", b"VBRI"))
        frames += not states_length
        at += frame_bytes
    return (frames * per_frame, per_frame) if frames else None
