"""Encodes and decodes an utterance as a record of a shard: a tf.train.Example in a TFRecord frame."""

from __future__ import annotations

import io
import struct
from typing import Any

import numpy as np
import soundfile
import soxr
from crc32c import crc32c
from google.protobuf.message import DecodeError

from jasper_tf.errors import UserError
from jasper_tf.io.memory_file import in_memory

CODECS = ("pcm", "flac")

_KEEP_GIL = 0

FRAME_BYTES = 16
"""What a TFRecord file adds to a record: length (8) and its checksum (4) before it, the record's checksum (4) after."""


def frame_record(data: bytes) -> bytes:
    """`data` in the frame of a TFRecord file (tensorflow/core/lib/io/record_writer.h)."""
    length = struct.pack("<Q", len(data))
    return b"".join((length, _checksum(length), data, _checksum(data)))


def open_frame(frame: bytes) -> memoryview:
    """The record inside `frame`.

    Raises:
        UserError: length or a checksum is wrong.
    """
    view = memoryview(frame)
    damaged = UserError("is damaged (wrong checksum); copy the shard again, or create it again")
    if len(frame) < FRAME_BYTES or _checksum(view[:8]) != view[8:12]:
        raise damaged
    (length,) = struct.unpack("<Q", view[:8])
    if length != len(frame) - FRAME_BYTES:
        raise UserError(
            f"has {length + FRAME_BYTES} bytes, {len(frame)} are asked for; take the manifest.jsonl beside the shard"
        )
    data = view[12:-4]
    if _checksum(data) != view[-4:]:
        raise damaged
    return data


def encode_record(pcm: np.ndarray, sample_rate: int, codec: str, text: str) -> bytes:
    """pcm [S] int16 and its transcript -> the bytes of a tf.train.Example, the same bytes for the same input.

    Features: `audio` (bytes: int16 little-endian, or a FLAC file of 16 bit), `codec`, `sample_rate`, `samples`, `text`.
    """
    import tensorflow as tf  # takes seconds; a command that only looks for its inputs does without

    if codec == "flac":
        file = io.BytesIO()
        soundfile.write(file, pcm, sample_rate, format="FLAC", subtype="PCM_16")
        audio = file.getvalue()
    else:
        audio = pcm.astype("<i2").tobytes()
    strings = {"audio": audio, "codec": codec.encode(), "text": text.encode("utf-8", "surrogatepass")}
    numbers = {"sample_rate": sample_rate, "samples": len(pcm)}
    feature = {key: tf.train.Feature(bytes_list=tf.train.BytesList(value=[v])) for key, v in strings.items()}
    feature |= {key: tf.train.Feature(int64_list=tf.train.Int64List(value=[v])) for key, v in numbers.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString(deterministic=True)


def decode_record(data: bytes | memoryview, sample_rate: int, out: np.ndarray | None = None) -> np.ndarray:
    """What `encode_record` gives -> audio [S] float32 at `sample_rate`, full scale 1; `out` as in `load_audio`.

    Raises:
        UserError: it is no such Example, or its audio is not as long as it states.
    """
    import tensorflow as tf  # as above

    try:
        features = tf.train.Example.FromString(data).features.feature
    except DecodeError:
        raise UserError("is no tf.train.Example; make the shards with `python -m jasper_tf shard`") from None
    audio, codec = (_only(key, features[key].bytes_list) for key in ("audio", "codec"))
    rate, samples = (_only(key, features[key].int64_list) for key in ("sample_rate", "samples"))
    if rate <= 0:
        raise UserError(f"has a sample_rate of {rate}; create the shard again")
    if codec == b"pcm":
        pcm = np.frombuffer(audio[: len(audio) // 2 * 2], "<i2")
    elif codec == b"flac":
        try:
            with in_memory(audio) as name:  # soundfile calls back into Python for every piece of a BytesIO
                pcm, _ = soundfile.read(name, dtype="int16")
        except (soundfile.SoundFileError, OSError, TypeError, ValueError, MemoryError):
            raise UserError("holds FLAC that cannot be decoded; create the shard again") from None
    else:
        raise UserError(f"has the unknown codec {codec[:20]!r}; this version reads {' and '.join(CODECS)}")
    if pcm.ndim != 1 or len(pcm) != samples or not samples or (codec == b"pcm" and len(audio) != 2 * samples):
        raise UserError(f"holds {len(pcm)} samples of the {samples} that it states; create the shard again")
    place = None if out is None or len(out) < len(pcm) else out[: len(pcm)]
    mono = np.multiply(pcm, np.float32(1 / 32768), dtype=np.float32, out=place)
    if rate != sample_rate:
        mono = np.ascontiguousarray(soxr.resample(mono, rate, sample_rate, quality="HQ"), np.float32)
    return mono


def _checksum(data: bytes | memoryview) -> bytes:
    """The masked CRC-32C of TFRecord files (tensorflow/core/lib/hash/crc32c.h)."""
    # Releasing the GIL and taking it again costs more than the checksum itself.
    crc = crc32c(data, gil_release_mode=_KEEP_GIL)
    return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)


def _only(key: str, values: Any) -> Any:
    """The one value of a feature."""
    if len(values.value) != 1:
        raise UserError(f"lacks the feature {key}; make the shards with `python -m jasper_tf shard`")
    return values.value[0]
