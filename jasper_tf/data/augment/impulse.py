"""Impulse: convolves the audio with the impulse response of a room or a microphone."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from jasper_tf.data.augment.perturbation import Perturbation
from jasper_tf.errors import UserError

if TYPE_CHECKING:
    from jasper_tf.data.augment.recordings import Recordings

_ROUNDING = 1e-24
"""Below this share of its power the sound has not arrived: what is there is rounding."""


@dataclass
class Impulse(Perturbation):
    """Convolution with an impulse response from a manifest (NeMo `impulse`).

    The length stays: what echoes behind the end is cut. The level stays too: the result has the mean power of what came
    in, whatever the response's own level (NeMo: raised to a peak of 1, which would undo `gain`).

    Attributes:
        manifest_path: what to draw from, see `Recordings`; needed.
        shift_impulse: whether the direct path, the response's largest sample, is laid on time 0, so that the transcript
            stays in time. NeMo: false when left out; here true.
        normalize_impulse: whether the response's mean is taken off first.
    """

    manifest_path: str | list[str] | None = None
    shift_impulse: bool = True
    normalize_impulse: bool = False
    recordings: Recordings = field(init=False, repr=False)

    STREAM: ClassVar[int] = 3
    IGNORED: ClassVar[frozenset[str]] = frozenset({"rng", "shuffle_n"})

    def prepare(self, key: str, sample_rate: int) -> None:
        # Here, for it brings TensorFlow, and a configuration is checked without.
        from jasper_tf.data.augment.recordings import Recordings

        assert self.manifest_path is not None  # `read` asks for it
        self.recordings = Recordings(key, self.manifest_path, sample_rate)

    def __call__(self, audio: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
        recordings = self.recordings
        index = int(generator.random() * len(recordings))
        response = recordings.whole(index).astype(np.float64)
        if self.normalize_impulse:
            response -= response.mean()
        if not response.any():
            path = recordings.entries[index].path
            raise UserError(f"{recordings.key}: {path}: this impulse response is silent; remove its line")
        delay = int(np.argmax(np.abs(response))) if self.shift_impulse else 0
        size = 1 << (len(audio) + len(response) - 2).bit_length()
        product = np.fft.rfft(audio, size) * np.fft.rfft(response, size)
        heard = np.fft.irfft(product, size)[delay : delay + len(audio)]
        power_in, power = np.mean(np.square(audio, dtype=np.float64)), np.mean(np.square(heard))
        if power <= _ROUNDING * power_in * np.sum(np.square(response)):
            return audio
        return (np.sqrt(power_in / power) * heard).astype(np.float32)
