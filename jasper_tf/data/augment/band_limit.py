"""Band limit: filters the audio as a telephone line or another narrow channel does."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import soundfile
import soxr

from jasper_tf.data.augment.perturbation import AugmentorError, Perturbation
from jasper_tf.data.augment.speed import fit_length


@dataclass
class BandLimit(Perturbation):
    """Down to a low sample rate and up again, so that nothing above half of it is left. This project's own.

    Attributes:
        sample_rate: the rate of the channel, Hz; 8000 is the telephone's.
        mu_law: whether the samples pass 8-bit mu-law (ITU-T G.711) there, as on a digital telephone line.
    """

    sample_rate: int = 8000
    mu_law: bool = False

    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {"sample_rate": (0, 384_000)}
    STREAM: ClassVar[int] = 5

    def check(self, name: str, sample_rate: int) -> None:
        if not 1000 <= self.sample_rate < sample_rate:
            raise AugmentorError(
                [name, "sample_rate"],
                f"{self.sample_rate} Hz limits nothing; take 1000 or more, below the model's {sample_rate} Hz",
            )

    def __call__(self, audio: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
        narrow = soxr.resample(audio, sample_rate, self.sample_rate, quality="HQ")
        if self.mu_law:
            coded = io.BytesIO()
            kind = {"samplerate": self.sample_rate, "channels": 1, "format": "RAW", "subtype": "ULAW"}
            soundfile.write(coded, narrow.clip(-1, 1), self.sample_rate, format="RAW", subtype="ULAW")
            coded.seek(0)
            narrow, _ = soundfile.read(coded, dtype="float32", **kind)
        return fit_length(soxr.resample(narrow, self.sample_rate, sample_rate, quality="HQ"), len(audio))
