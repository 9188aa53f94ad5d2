"""Plans which utterances go to which shard, before any audio is read."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from jasper_tf.audio.load import ChannelSelector
from jasper_tf.data.manifest.columns import Manifest, manifest_paths
from jasper_tf.data.storage.shard_index import file_sha256, resolve_shards
from jasper_tf.data.storage.shard_reader import SHARD_SUFFIX
from jasper_tf.data.storage.shard_record import CODECS, FRAME_BYTES
from jasper_tf.errors import UserError

_FLAC_SHARE = 0.55
"""Bytes of FLAC per byte of PCM, for speech at 16 kHz; it only decides the number of shards."""

_FEATURE_BYTES = 200


@dataclass(frozen=True)
class ShardSettings:
    """What the bytes of shards depend on, besides the source.

    Args:
        sample_rate: of the shards, in Hz; recordings at other rates are resampled once.
        channel_selector: "average" or the number of one channel.
        codec: "pcm" (fast to read) or "flac" (about half the size, the same samples).
        shard_size_mb: megabytes (10^6 bytes) that a shard has, about.
    """

    sample_rate: int = 16000
    channel_selector: ChannelSelector = "average"
    codec: str = "pcm"
    shard_size_mb: float = 256

    def __post_init__(self):
        if self.codec not in CODECS:
            raise UserError(f"codec {self.codec!r}: is none of {', '.join(CODECS)}")
        if not 0 < self.shard_size_mb < float("inf"):
            raise UserError(f"shard size {self.shard_size_mb:g}: must be a number of megabytes above 0")
        channel = self.channel_selector
        if channel != "average" and not (isinstance(channel, int) and channel >= 0):
            raise UserError(f'channel selector {channel!r}: is neither "average" nor the number of a channel, from 0')
        if self.sample_rate < 1:
            raise UserError(f"sample rate {self.sample_rate}: must be a number of hertz above 0")


def plan_shards(duration_s: np.ndarray, settings: ShardSettings) -> tuple[list[str], np.ndarray]:
    """duration_s [utterances] -> the names of the shards, and the first utterance of each [shards + 1], the end last.

    The order is the manifest's; the declared durations decide, so neither workers nor what is skipped change it.
    """
    share = _FLAC_SHARE if settings.codec == "flac" else 1.0
    size = duration_s * settings.sample_rate * 2 * share + _FEATURE_BYTES + FRAME_BYTES
    before = np.cumsum(size) - size
    number = np.floor(before / (settings.shard_size_mb * 1e6)).astype(np.int64)
    first = np.flatnonzero(np.diff(number, prepend=-1))
    names = [f"shard-{i:05d}-of-{len(first):05d}{SHARD_SUFFIX}" for i in range(len(first))]
    return names, np.append(first, len(duration_s))


def describe_source(paths: str | Sequence[str], manifest: Manifest, settings: ShardSettings) -> dict[str, Any]:
    """The settings, and a checksum of the manifests and of all durations, as index.json holds them."""
    digest = hashlib.sha256()
    for path in map(resolve_shards, manifest_paths(paths)):
        digest.update(bytes.fromhex(file_sha256(path)))
    digest.update(np.asarray(manifest.duration_s, "<f8").tobytes())
    return {**asdict(settings), "source_sha256": digest.hexdigest()}
