"""A recording in the course of being recognized, piece by piece."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from jasper_tf.errors import UserError
from jasper_tf.inference.long_audio import join_transcripts
from jasper_tf.inference.recording import Recording
from jasper_tf.inference.segments import Segmentation
from jasper_tf.inference.transcript import Transcript


@dataclass
class RecordingJob:
    """A recording in progress.

    Attributes:
        recording: what is read; None when it is finished.
        parts: (start, end) of its pieces, in samples.
        result: the transcript, or the error that prevents it; None until one of them is known.
        found: the transcripts of the pieces so far.
        samples_per_part: of the recording.
    """

    recording: Recording | None
    parts: list[tuple[int, int]]
    result: Transcript | UserError | None = None
    found: dict[int, Transcript] = field(default_factory=dict)
    samples_per_part: float = 0.0

    def __post_init__(self) -> None:
        if self.recording is not None:  # the parts overlap: their lengths add up to more
            self.samples_per_part = self.recording.samples / len(self.parts)

    def finish(self, sample_rate: int, words: bool, segmentation: Segmentation | None) -> None:
        """Sets the result if all pieces are there."""
        if self.result is None and len(self.found) == len(self.parts):
            found = [self.found[k] for k in range(len(self.parts))]
            try:
                joined = join_transcripts(self.parts, found, sample_rate, segmentation)
            except UserError as error:
                self.result = error
            else:
                self.result = joined if words else replace(joined, words=None, segments=None, confidence=None)
            self.recording = None  # may hold its samples


@dataclass
class Piece:
    """Part `k` of a job."""

    job: RecordingJob
    k: int

    @property
    def samples(self) -> int:
        start, end = self.job.parts[self.k]
        return end - start

    def read(self) -> np.ndarray | None:
        """Reads audio [S] float32; None if it, or another part of the recording, cannot be read."""
        job, recording = self.job, self.job.recording
        if job.result is not None or recording is None:
            return None
        try:
            if len(job.parts) > 1:
                return recording.part(*job.parts[self.k])
            audio = recording.whole()
        except UserError as error:
            job.result = error
            return None
        job.parts = [(0, len(audio))]  # a header is not exact, and silence is trimmed
        return audio
