"""Log-probabilities of a recording of any length, kept in a file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.decoding.alignment import join_words, time_labels
from jasper_tf.decoding.greedy.greedy_array_decoder import GreedyArrayDecoder
from jasper_tf.errors import UserError
from jasper_tf.inference.long_audio import Chunking, join_transcripts
from jasper_tf.inference.recording import Recording
from jasper_tf.inference.transcript import Transcript
from jasper_tf.text.tokenizer import Tokenizer

_BATCH_S = 160.0
"""Seconds of audio in a batch of pieces: it bounds the memory."""

_LEAST = float(np.finfo(np.float16).min)


class AcousticModel(Protocol):
    """A model that gives log-probabilities of audio: JasperCTC, SavedModelTranscriber and EdgeRecognizer."""

    @property
    def tokenizer(self) -> Tokenizer: ...

    @property
    def sample_rate(self) -> int: ...

    @property
    def frame_s(self) -> float: ...

    def log_probs(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Audio [B,S] float32, audio_len [B] int32 -> log-probabilities [B,T',V+1], valid frames [B]."""


@dataclass(frozen=True)
class RecordingFrames:
    """The log-probabilities of a recording, and its greedy words.

    Attributes:
        log_probs: [T',V+1] float16, in a temporary file that is gone with the array.
        words: greedy, with times.
    """

    log_probs: np.ndarray
    words: Transcript


def read_recording_frames(
    model: AcousticModel, recording: Recording, chunking: Chunking, on_progress: Callable[[float], Any] | None = None
) -> RecordingFrames:
    """Runs the model over a recording in pieces that overlap, and joins their frames in the middle of the overlaps.

    Memory is that of a batch of pieces; an hour of a model of 28 letters takes 10 MB of disk.

    Args:
        model: gives log-probabilities.
        recording: opened at the model's rate.
        chunking: how it is cut.
        on_progress: called after each batch with its seconds, overlaps not counted.

    Raises:
        UserError: the recording cannot be read.
    """
    rate = model.sample_rate
    step = round(model.frame_s * rate)
    # Pieces begin on the grid of the frames.
    parts = [(start // step * step, end) for start, end in chunking.parts(recording.samples, rate)]
    longest = max(end - start for start, end in parts)
    batch_size = max(1, int(_BATCH_S * rate / longest))
    seconds, total = recording.samples / rate, sum(end - start for start, end in parts)
    greedy = GreedyArrayDecoder()
    found: list[Transcript] = []
    file = tempfile.TemporaryFile()  # noqa: SIM115 (the array outlives this function)
    frames = 0
    for first in range(0, len(parts), batch_size):
        batch = parts[first : first + batch_size]
        audio = [recording.whole() if len(parts) == 1 else recording.part(*part) for part in batch]
        log_probs, logit_len = model.log_probs(*pad_audio(audio))
        best = greedy.best_path(log_probs, logit_len)
        for k, labels in enumerate(time_labels(best, model.tokenizer, model.frame_s), first):
            words = join_words(labels)
            found.append(Transcript(" ".join(word.text for word in words), words=tuple(words)))
            start, end = parts[k]
            begin = 0 if k == 0 else _seam(parts, k, step) - start // step
            stop = int(logit_len[k - first]) if k + 1 == len(parts) else _seam(parts, k + 1, step) - start // step
            kept = np.maximum(log_probs[k - first, begin:stop], _LEAST).astype(np.float16)
            try:
                file.write(kept.tobytes())
            except OSError as error:
                raise UserError(f"{tempfile.gettempdir()}: cannot write ({error.strerror}); make room there") from None
            frames += len(kept)
        if on_progress is not None:
            on_progress(seconds * sum(end - start for start, end in batch) / total)
    file.flush()  # what is in Python's buffer is not in the map
    shape = (frames, len(model.tokenizer) + 1)
    array = np.memmap(file, np.float16, "r", shape=shape) if frames else np.zeros(shape, np.float16)
    return RecordingFrames(array, join_transcripts(parts, found, rate))


def _seam(parts: list[tuple[int, int]], k: int, step: int) -> int:
    """The first frame that is taken from part `k`: in the middle of its overlap with the part before."""
    return (parts[k][0] + parts[k - 1][1]) // 2 // step
