"""Noise: mixes recorded noise with the speech at a signal-to-noise ratio."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from jasper_tf.data.augment.perturbation import Perturbation

if TYPE_CHECKING:
    from jasper_tf.data.augment.recordings import Recordings


@dataclass
class Noise(Perturbation):
    """Adds a recording from a manifest at a signal-to-noise ratio uniform in decibels (NeMo `noise`).

    The ratio is that of the mean power of the whole utterance to that of the noise which is added. Of a noise that is
    longer than the utterance a stretch is taken, anywhere; a shorter one is added once, anywhere, as in NeMo. Which
    recording is drawn does not depend on its length. Silent speech and silent noise change nothing.

    Attributes:
        manifest_path: what to draw from, see `Recordings`; needed.
        min_snr_db, max_snr_db: the range of the ratio.
        max_gain_db: the noise is raised by no more than this.
    """

    manifest_path: str | list[str] | None = None
    min_snr_db: float = 10.0
    max_snr_db: float = 50.0
    max_gain_db: float = 300.0
    recordings: Recordings = field(init=False, repr=False)

    STREAM: ClassVar[int] = 4
    BOUNDS: ClassVar[dict[str, tuple[float, float]]] = {
        "min_snr_db": (-300, 300),
        "max_snr_db": (-300, 300),
        "max_gain_db": (-300, 300),
    }
    RANGE: ClassVar[tuple[str, str] | None] = ("min_snr_db", "max_snr_db")
    IGNORED: ClassVar[frozenset[str]] = frozenset({"rng", "orig_sr", "shuffle_n"})

    def prepare(self, key: str, sample_rate: int) -> None:
        # Here, for it brings TensorFlow, and a configuration is checked without.
        from jasper_tf.data.augment.recordings import Recordings

        assert self.manifest_path is not None  # `read` asks for it
        self.recordings = Recordings(key, self.manifest_path, sample_rate)

    def __call__(self, audio: np.ndarray, generator: np.random.Generator, sample_rate: int) -> np.ndarray:
        recordings = self.recordings
        which, where, snr_db = generator.random(), generator.random(), self.drawn(generator)
        index = int(which * len(recordings))
        spare_s = recordings.duration_s(index) - len(audio) / sample_rate
        if spare_s > 0:
            noise, at = recordings.part(index, where * spare_s, len(audio) / sample_rate)[: len(audio)], 0
        else:
            noise = recordings.whole(index)[: len(audio)]
            at = int(where * (len(audio) - len(noise) + 1))
        speech_power, noise_power = (np.mean(np.square(x, dtype=np.float64)) for x in (audio, noise))
        if not speech_power or not noise_power:
            return audio
        gain = min(np.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20), 10 ** (self.max_gain_db / 20))
        mixed = audio.copy()
        mixed[at : at + len(noise)] += np.float32(gain) * noise
        return mixed
