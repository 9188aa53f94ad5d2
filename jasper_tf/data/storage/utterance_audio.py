"""The audio of an utterance, wherever it is stored: a file, a shard, a tar file."""

from __future__ import annotations

import numpy as np

from jasper_tf.audio import silence
from jasper_tf.audio.load import ChannelSelector, load_audio
from jasper_tf.data.manifest.line import Utterance


def load_part(
    path: str,
    start: int,
    size: int,
    sample_rate: int = 16000,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    channel_selector: ChannelSelector = "average",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The sound of a manifest's line with a `record` -> audio [S] float32, full scale 1: from a shard or a tar file.

    A shard's record is one utterance's sound, mono; offset, duration and channel are those of a member of a tar file.

    Raises:
        UserError: it cannot be read. One line that begins with the path.
    """
    # Both import TensorFlow, and a server's client, which reads plain files, starts without it.
    from jasper_tf.data.storage.shard_reader import SHARD_SUFFIX, load_record
    from jasper_tf.data.storage.tarred import load_member

    if path.endswith(SHARD_SUFFIX):
        return load_record(path, start, size, sample_rate, out)
    return load_member(path, start, size, sample_rate, offset_s, duration_s, channel_selector, out)


def load_utterance(
    utterance: Utterance,
    sample_rate: int = 16000,
    channel_selector: ChannelSelector = "average",
    trim_silence: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """The audio [S] float32 of an utterance, full scale 1, from a file, a shard or a tar file.

    Training, validation, `evaluate` and `transcribe` all read an utterance by this function.

    Args:
        utterance: which part of which file.
        sample_rate: wanted rate in Hz.
        channel_selector: "average" or the number of a channel; the records of shards have one channel.
        trim_silence: whether silence at both ends is cut off (`audio.silence`).
        out: memory that the samples may be decoded into, as in `load_audio`.

    Raises:
        UserError: it cannot be read. One line that begins with the path.
    """
    path, offset_s, duration_s = utterance.path, utterance.offset_s, utterance.duration_s
    if utterance.record is None:
        audio = load_audio(path, sample_rate, offset_s, duration_s, channel_selector, out)
    else:
        audio = load_part(path, *utterance.record, sample_rate, offset_s, duration_s, channel_selector, out)
    return silence.trim_silence(audio) if trim_silence else audio
