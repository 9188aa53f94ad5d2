"""Band limit: filters the audio as a telephone line or another narrow channel does."""

from __future__ import annotations

import io
from typing import ClassVar

import numpy as np
import soundfile
import soxr

from jasper_tf.config.sections.augment_schema import BandLimitConfig
from jasper_tf.data.augment.perturbation import Perturbation
from jasper_tf.data.augment.speed import fit_length


class BandLimit(Perturbation):
    """Resamples to the channel's rate and back, which removes everything above half of it. This project's own."""

    config: BandLimitConfig
    STREAM: ClassVar[int] = 5

    def __call__(self, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        channel_hz = self.config.sample_rate
        narrow = soxr.resample(audio, self.sample_rate, channel_hz, quality="HQ")
        if self.config.mu_law:
            coded = io.BytesIO()
            layout = {"samplerate": channel_hz, "channels": 1, "format": "RAW", "subtype": "ULAW"}
            soundfile.write(coded, narrow.clip(-1, 1), channel_hz, format="RAW", subtype="ULAW")
            coded.seek(0)
            narrow, _ = soundfile.read(coded, dtype="float32", **layout)
        return fit_length(soxr.resample(narrow, channel_hz, self.sample_rate, quality="HQ"), len(audio))
