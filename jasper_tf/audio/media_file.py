"""Reads containers that libsndfile does not know (MP4, WebM, ASF, raw AAC, AMR) by FFmpeg, if PyAV is installed."""

from __future__ import annotations

import functools
import itertools
import os
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

import numpy as np

from jasper_tf.audio.pcm import to_float
from jasper_tf.errors import AudioError, one_line
from jasper_tf.io.file_access import OUT_OF_FILES, is_out_of_files

MEDIA_SLACK_S = 0.2
"""Media may end this much before their header says, which counts the encoder's delay and padding."""

_PREROLL_S = 1.0
"""Decoded and discarded after a seek: AAC and Opus need 80 ms of history, WMA a few packets."""

_GAP_S = 0.05
"""A later time stamp is a gap from here on; below, it is the rounding to milliseconds in WebM and ASF."""

_MATROSKA, _ASF = b"\x1a\x45\xdf\xa3", b"\x30\x26\xb2\x75\x8e\x66\xcf\x11"
_MP4_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot")
_STATES_LENGTH = ("mov", "matroska", "asf")


def media_format(head: bytes) -> str | None:
    """FFmpeg's name of the container that begins with `head` (8 bytes or more); None if it is none of these.

    Only these few are given to FFmpeg: among its formats are playlists, which open other files and addresses.
    """
    if head[4:8] in _MP4_BOXES:
        return "mov"
    if head.startswith(_MATROSKA):
        return "matroska"
    if head.startswith(_ASF):
        return "asf"
    if head.startswith(b"#!AMR"):
        return "amr"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0:  # MP3 has a layer that is not 0
        return "aac"
    return None


def pyav_version() -> str | None:
    """ "PyAV 18.1.0"; None where it is not installed."""
    try:
        return f"PyAV {version('av')}"
    except PackageNotFoundError:
        return None


class MediaFile:
    """The first audio track of a container, with the attributes of `soundfile.SoundFile` that `load_audio` uses.

    Where it begins later than the film it belongs to, silence comes first, so that times fit the picture.

    Args:
        path: of a regular file.
        kind: what `media_format` gave.

    Raises:
        AudioError: PyAV is not installed; it is damaged, or has no audio.
    """

    def __init__(self, path: str, kind: str):
        try:
            import av  # an extra, and 50 MB that other files do without
        except ImportError:
            detail = f"is in a format ({kind}) that needs PyAV; pip install 'jasper-tf[formats]', or convert it to WAV"
            raise AudioError(path, "not_audio", detail) from None
        self._path, self.format = path, kind
        self._error = av.error.FFmpegError
        try:
            # As a file, whatever its name; and no other protocol, whatever it refers to.
            self._container = av.open(f"file:{path}", format=kind, options={"protocol_whitelist": "file"})
        except (self._error, ValueError, MemoryError) as error:
            raise self._damaged(error) from None
        if not self._container.streams.audio:
            self.close()
            raise AudioError(path, "not_audio", "has no audio track; leave it out")
        self._stream = self._container.streams.audio[0]
        codec = self._stream.codec_context
        self._tick_s = float(self._stream.time_base or 0)
        if codec is None or not codec.sample_rate or not self._tick_s:
            self.close()
            raise self._damaged(ValueError("no header of a known codec"))
        # Beside a picture the times count from where the film begins; alone, from the first sample.
        alone = len(self._container.streams) == 1
        late_s = (self._stream.start_time or 0) * self._tick_s - (self._container.start_time or 0) / 1e6
        self._late_s = 0.0 if alone else max(0.0, late_s)
        self.samplerate, self.channels, self.subtype = codec.sample_rate, max(1, codec.channels), codec.name

    @functools.cached_property
    def frames(self) -> int:
        """Samples of the track: what the header states, or where that says nothing of it, what its packets say."""
        stated_s = None
        if self.format == "mov" and self._stream.duration:
            stated_s = self._stream.duration * self._tick_s
        elif self.format in _STATES_LENGTH and len(self._container.streams) == 1 and self._container.duration:
            stated_s = (self._container.duration - max(0, self._container.start_time or 0)) / 1e6
        if stated_s is None:
            found = os.stat(self._path)
            stated_s = _count_seconds(self._path, self.format, found.st_ino, found.st_size, found.st_mtime_ns)
        return max(0, round((stated_s + self._late_s) * self.samplerate))

    def packets_s(self) -> float:
        """Seconds from the first packet to the end of the last, by their time stamps; reads the whole file."""
        first = last = None
        try:
            for packet in self._container.demux(self._stream):
                if packet.pts is not None:
                    first = packet.pts if first is None else first
                    last = max(last or 0, packet.pts + (packet.duration or 0))
        except self._error as error:
            raise self._damaged(error) from None
        return 0.0 if first is None or last is None else (last - max(first, 0)) * self._tick_s

    def blocks(self, start: int, end: int) -> Iterator[tuple[int, np.ndarray]]:
        """Decodes the track around samples `start` to `end`: yields where a block begins, and the block [S, channels].

        The first may begin before `start`, the last one end after `end` or, at the end of the track, before. Where the
        time stamps leave a gap, so do the blocks.

        Raises:
            AudioError: it is damaged, or changes its rate.
        """
        rate = self.samplerate
        frames = self._frames()
        first = next(frames, None)
        if first is None:
            return
        origin_s = (first[0] or 0.0) - self._late_s
        if start > _PREROLL_S * rate:
            frames = self._seek(origin_s + start / rate - _PREROLL_S)
            first = next(frames, None)
            if first is None or first[0] is None or first[0] > origin_s + start / rate:
                frames = self._seek(origin_s)  # it has no place to begin that near
                first = next(frames, None)
        at = None
        for time_s, block in itertools.chain([first] if first else [], frames):
            stamp = at or 0 if time_s is None else max(0, round((time_s - origin_s) * rate))
            if at is None or stamp - at > _GAP_S * rate:
                at = stamp
            yield at, block
            at += len(block)
            if at >= end:
                return

    def _seek(self, time_s: float) -> Iterator[tuple[float | None, np.ndarray]]:
        try:
            self._container.seek(int(time_s / self._tick_s), stream=self._stream)
        except (self._error, OverflowError) as error:
            raise self._damaged(error) from None
        return self._frames()

    def _frames(self) -> Iterator[tuple[float | None, np.ndarray]]:
        """Time in seconds and [S, channels] float32 of each frame from the current place on."""
        try:
            for frame in self._container.decode(self._stream):
                if frame.sample_rate != self.samplerate:
                    detail = f"changes its rate from {self.samplerate} to {frame.sample_rate} Hz; convert it to WAV"
                    raise AudioError(self._path, "rate", detail)
                samples = to_float(frame.to_ndarray())  # [channels, S], or [1, S * channels]
                yield frame.time, samples.T if frame.format.is_planar else samples.reshape(frame.samples, -1)
        except AudioError:
            raise
        except (self._error, ValueError, MemoryError) as error:
            raise self._damaged(error) from None

    def _damaged(self, error: Exception) -> AudioError:
        if is_out_of_files(error):
            return AudioError(self._path, "unreadable", OUT_OF_FILES)
        reason = one_line(getattr(error, "strerror", None) or error)
        detail = f"cannot be decoded ({reason}): damaged, cut off or encrypted; copy it again, or convert it to WAV"
        return AudioError(self._path, "not_audio", detail)

    def close(self) -> None:
        self._container.close()

    def __enter__(self) -> MediaFile:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


@functools.lru_cache(maxsize=256)
def _count_seconds(path: str, kind: str, *identity: int) -> float:
    """Seconds of the packets of the audio track. `identity` (inode, size, time) is that of the file."""
    with MediaFile(path, kind) as file:
        return file.packets_s()
