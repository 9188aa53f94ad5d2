"""Reads the audio of utterances into padded batches."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from jasper_tf.audio.load import ChannelSelector
from jasper_tf.data.batches.buffer_pool import BufferPool
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import UserError
from jasper_tf.io.remote import is_remote

_REQUESTS = 64
"""Rows that a process reads at the same time from object storage, which takes long to answer."""

ChangeAudio = Callable[[int, np.ndarray], np.ndarray]


class BatchReader:
    """Decodes utterances into their rows of padded batches. Thread-safe.

    Args:
        sample_rate: wanted rate in Hz.
        channel_selector: "average", or the channel to read.
        trim_silence: whether silence at both ends is cut off.
    """

    def __init__(self, sample_rate: int, channel_selector: ChannelSelector, trim_silence: bool = False):
        self._sample_rate = sample_rate
        self._channel_selector = channel_selector
        self._trim_silence = trim_silence
        self._memory = BufferPool()

    def read(self, utterance: Utterance, out: np.ndarray | None = None) -> np.ndarray:
        """audio [S] float32 of one utterance; `out` as in `load_audio`.

        Raises:
            UserError: it cannot be read.
        """
        return load_utterance(utterance, self._sample_rate, self._channel_selector, self._trim_silence, out)

    def read_batch(
        self, utterances: Sequence[Utterance], limits: np.ndarray, samples: int, change: ChangeAudio | None = None
    ) -> tuple[np.ndarray, np.ndarray, dict[int, UserError]]:
        """Utterances -> audio [B,S] float32, audio_len [B] int32, and by row what could not be read (audio_len 0).

        Args:
            utterances: of the batch, B.
            limits: [B], samples that each may have; what is longer is cut.
            samples: S.
            change: applied to a row's audio after it is read: (row, audio [S]) -> [S'].
        """
        audio = self._memory.take(len(utterances), samples)
        audio_len = np.zeros(len(utterances), np.int32)
        errors: dict[int, UserError] = {}

        def read(row: int) -> np.ndarray | UserError:
            try:
                mono = self.read(utterances[row], audio[row])
                return mono if change is None else change(row, mono)
            except UserError as error:
                return error

        remote = any(is_remote(utterance.path) for utterance in utterances)
        rows = range(len(utterances))
        read_rows = _request_pool(os.getpid()).map(read, rows) if remote else map(read, rows)
        for row, (mono, target) in enumerate(zip(read_rows, audio, strict=True)):
            if isinstance(mono, UserError):
                errors[row] = mono
                continue
            mono = mono[: limits[row]]
            if mono.ctypes.data != target.ctypes.data:
                target[: len(mono)] = mono
            target[len(mono) :] = 0
            audio_len[row] = len(mono)
        return audio, audio_len, errors


@functools.lru_cache(maxsize=1)
def _request_pool(process: int) -> ThreadPoolExecutor:
    """Threads that wait for object storage; a pool for each batch would cost a quarter of a request's own time."""
    return ThreadPoolExecutor(_REQUESTS)
