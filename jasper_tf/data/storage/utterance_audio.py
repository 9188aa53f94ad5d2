"""Reads the audio of an utterance from a file, a shard or a tar file."""

from __future__ import annotations

import numpy as np

from jasper_tf.audio import silence
from jasper_tf.audio.load import ChannelSelector, load_audio
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.storage.shard_reader import SHARD_SUFFIX, load_record, read_part
from jasper_tf.errors import AudioError
from jasper_tf.io.memory_file import in_memory


def load_utterance(
    utterance: Utterance,
    sample_rate: int = 16000,
    channel_selector: ChannelSelector = "average",
    trim_silence: bool = False,
    out: np.ndarray | None = None,
) -> np.ndarray:
    """Loads the audio [S] float32 of an utterance, full scale 1, from a file, a shard or a tar file.

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
        if path.endswith(SHARD_SUFFIX):  # a record is one utterance, mono
            audio = load_record(path, *utterance.record, sample_rate, out)
        else:
            audio = load_member(path, *utterance.record, sample_rate, offset_s, duration_s, channel_selector, out)
    return silence.trim_silence(audio) if trim_silence else audio


def load_member(
    path: str,
    start: int,
    size: int,
    sample_rate: int = 16000,
    offset_s: float = 0.0,
    duration_s: float | None = None,
    channel_selector: ChannelSelector = "average",
    out: np.ndarray | None = None,
) -> np.ndarray:
    """`load_audio` for an audio file that is bytes `start` to `start + size` of the archive `path`.

    Raises:
        UserError: as `load_audio`, and where the archive is missing or cut off. One line that begins with the path.
    """
    with in_memory(read_part(path, start, size)) as name:
        try:
            return load_audio(name, sample_rate, offset_s, duration_s, channel_selector, out)
        except AudioError as error:
            raise AudioError(path, error.kind, f"the recording at byte {start}: {error.detail}") from None
