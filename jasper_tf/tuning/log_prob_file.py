"""Log-probabilities of the recordings of a manifest, kept in one temporary file."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError
from jasper_tf.inference.alignment.recording_frames import AcousticModel, read_recording_frames
from jasper_tf.inference.audio_settings import AudioSettings
from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.recording import hold_samples, open_recording


class LogProbFile:
    """The log-probabilities of N recordings as float16 on the disk: 10 MB for an hour of a model of 28 letters.

    Memory is that of one recording, or of a batch of its pieces.

    Args:
        classes: V+1.
    """

    def __init__(self, classes: int):
        self._classes = classes
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (as long as the object)
        self._starts = [0]

    def __len__(self) -> int:
        """N."""
        return len(self._starts) - 1

    @property
    def size(self) -> int:
        """Bytes on the disk."""
        return 2 * self._classes * self._starts[-1]

    def append(self, log_probs: np.ndarray) -> None:
        """Adds a recording, log_probs [T',V+1]."""
        self._file.write(np.asarray(log_probs, np.float16).tobytes())
        self._starts.append(self._starts[-1] + len(log_probs))

    def batches(self, batch_size: int) -> Iterator[tuple[list[int], np.ndarray, np.ndarray]]:
        """Yields the recordings by length, the longest first.

        Yields:
            Their numbers [B], log_probs [B,T',V+1] float32, padded with 0, and logit_len [B] int32.
        """
        self._file.flush()
        lengths = np.diff(self._starts)
        shape = (self._starts[-1], self._classes)
        rows = np.memmap(self._file, np.float16, "r", shape=shape) if shape[0] else np.zeros(shape, np.float16)
        order = np.argsort(-lengths, kind="stable")
        for first in range(0, len(order), batch_size):
            numbers = order[first : first + batch_size].tolist()
            batch = np.zeros((len(numbers), lengths[numbers[0]], self._classes), np.float32)
            for row, number in zip(batch, numbers, strict=True):
                row[: lengths[number]] = rows[self._starts[number] : self._starts[number + 1]]
            yield numbers, batch, lengths[numbers].astype(np.int32)


def compute_log_probs(
    model: AcousticModel,
    utterances: Sequence[Utterance],
    audio: AudioSettings,
    on_done: Callable[[Utterance, UserError | None], None] = lambda utterance, error: None,
) -> tuple[LogProbFile, list[str], list[str]]:
    """Runs the model over every recording once, long ones in pieces.

    Args:
        model: gives log-probabilities.
        utterances: with their references.
        audio: how the recordings are read.
        on_done: called after each, with the error if it cannot be read; then it is left out.

    Returns:
        The log-probabilities, the references and the greedy texts of those that were read, in order.
    """
    found, references, greedy = LogProbFile(len(model.tokenizer) + 1), [], []
    for utterance in utterances:
        try:
            recording = open_recording(utterance, model.sample_rate, None, audio.channel_selector, audio.trim_silence)
            if audio.trim_silence:  # its header counts the silence
                recording = hold_samples(recording.whole())
            frames = read_recording_frames(model, recording, Chunking())
        except UserError as error:
            on_done(utterance, error)
            continue
        found.append(frames.log_probs)
        references.append(utterance.text)
        greedy.append(frames.words.text)
        on_done(utterance, None)
    return found, references, greedy
