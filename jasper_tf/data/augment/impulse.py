"""Impulse: convolves the audio with the impulse response of a room or a microphone."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from jasper_tf.config.sections.augment_schema import ImpulseConfig
from jasper_tf.data.augment.perturbation import Perturbation
from jasper_tf.data.augment.recordings import Recordings
from jasper_tf.errors import UserError

_ROUNDING = 1e-24
"""A result of less than this share of the power that went in is only rounding error."""


class Impulse(Perturbation):
    """Convolution with an impulse response from a manifest (NeMo `impulse`).

    The length stays: echoes after the end are cut. The mean power stays too, whatever the response's own level (NeMo:
    normalized to a peak of 1, which would undo `gain`).

    Raises:
        UserError: the manifest is missing or broken; in a call: the response is silent.
    """

    config: ImpulseConfig
    STREAM: ClassVar[int] = 3

    def __init__(self, config: ImpulseConfig, key: str, sample_rate: int):
        super().__init__(config, key, sample_rate)
        self.recordings = Recordings(key, config.manifest_path, sample_rate)

    def __call__(self, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        recordings = self.recordings
        index = int(generator.random() * len(recordings))
        response = recordings.whole(index).astype(np.float64)
        if self.config.normalize_impulse:
            response -= response.mean()
        if not response.any():
            path = recordings.entries[index].path
            raise UserError(f"{recordings.key}: {path}: this impulse response is silent; remove its line")
        delay = int(np.argmax(np.abs(response))) if self.config.shift_impulse else 0
        size = 1 << (len(audio) + len(response) - 2).bit_length()
        product = np.fft.rfft(audio, size) * np.fft.rfft(response, size)
        heard = np.fft.irfft(product, size)[delay : delay + len(audio)]
        power_in, power = np.mean(np.square(audio, dtype=np.float64)), np.mean(np.square(heard))
        if power <= _ROUNDING * power_in * np.sum(np.square(response)):
            return audio
        return (np.sqrt(power_in / power) * heard).astype(np.float32)
