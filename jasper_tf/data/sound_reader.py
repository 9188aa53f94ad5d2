"""The sound of utterances inside tf.data, wherever it lies: a file, a shard, a tar file."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf

from jasper_tf.data.audio import ChannelSelector, is_graph_decodable, load_audio, load_audio_in_graph
from jasper_tf.data.bad_audio import BadAudio
from jasper_tf.data.manifest import Utterance
from jasper_tf.data.tarred import load_part
from jasper_tf.errors import UserError


class SoundReader:
    """Utterances to places, outside the graph; a place to samples, inside.

    Args:
        sample_rate: wanted rate in Hz.
        channel_selector: "average", or the channel to read.
        bad_audio: what `load_or_note` tells of recordings that cannot be read.
    """

    PLACES = (
        tf.TensorSpec([None], tf.string),  # path
        tf.TensorSpec([None], tf.float64),  # offset_s, exact in long files
        tf.TensorSpec([None], tf.float64),  # duration_s
        tf.TensorSpec([None, 2], tf.int64),  # record, -1 for none
        tf.TensorSpec([None], tf.bool),  # whether the graph may decode it
    )

    def __init__(self, sample_rate: int, channel_selector: ChannelSelector, bad_audio: BadAudio | None = None):
        self.bad_audio = bad_audio
        self._sample_rate = sample_rate
        self._channel_selector = channel_selector

    def places(self, utterances: Sequence[Utterance]) -> tuple[np.ndarray, ...]:
        """Where their sound is: path, offset_s, duration_s, record, whether the graph may decode it, each [B]."""
        return (
            np.array([os.fsencode(u.path) for u in utterances], object),
            np.array([u.offset_s for u in utterances], np.float64),
            np.array([u.duration_s for u in utterances], np.float64),
            np.array([u.record or (-1, -1) for u in utterances], np.int64).reshape(-1, 2),
            np.array([u.record is None and is_graph_decodable(u.path, self._sample_rate) for u in utterances], bool),
        )

    def load(self, path, offset_s, duration_s, record, in_graph) -> tf.Tensor:
        """audio [S] tf.float32 of one utterance, by whatever reads it."""

        def by_record() -> tf.Tensor:
            return tf.numpy_function(self._read, [path, offset_s, duration_s, record], tf.float32)

        def by_file() -> tf.Tensor:
            return load_audio_in_graph(path, offset_s, duration_s, in_graph, self._sample_rate, self._channel_selector)

        return tf.cond(record[0] >= 0, by_record, by_file)

    def load_or_note(self, index, path, offset_s, duration_s, record, in_graph) -> tf.Tensor:
        """The same, or no samples of what cannot be read, which `bad_audio` then knows."""
        bad_audio = self.bad_audio
        assert bad_audio is not None

        def read(index, *place) -> np.ndarray:
            try:
                return self._read(*place)
            except UserError as error:
                bad_audio.add(int(index), str(error))
                return np.zeros(0, np.float32)

        return tf.numpy_function(read, [index, path, offset_s, duration_s, record], tf.float32)

    def _read(self, path: bytes, offset_s: float, duration_s: float, record: np.ndarray) -> np.ndarray:
        # Graphs pass the bytes; called eagerly, TensorFlow wraps them in an array.
        name = os.fsdecode(np.asarray(path, object).item())
        part = self._sample_rate, float(offset_s), float(duration_s), self._channel_selector
        if record[0] >= 0:
            return load_part(name, int(record[0]), int(record[1]), *part)
        return load_audio(name, *part)
