"""Noise: mixes recorded noise with the speech at a signal-to-noise ratio."""

from __future__ import annotations

from typing import ClassVar

import numpy as np

from jasper_tf.config.sections.augment_schema import NoiseConfig
from jasper_tf.data.augment.perturbation import Perturbation
from jasper_tf.data.augment.recordings import Recordings


class Noise(Perturbation):
    """Adds a recording from a manifest at a signal-to-noise ratio uniform in decibels (NeMo `noise`).

    The ratio is the mean power of the whole utterance to that of the noise which is added. Of a noise that is longer
    than the utterance a random part is taken; a shorter one is added once, at a random time, as in NeMo. Which
    recording is drawn does not depend on its length. Silent speech and silent noise change nothing.

    Raises:
        UserError: the manifest is missing or broken.
    """

    config: NoiseConfig
    STREAM: ClassVar[int] = 4

    def __init__(self, config: NoiseConfig, key: str, sample_rate: int):
        super().__init__(config, key, sample_rate)
        self.recordings = Recordings(key, config.manifest_path, sample_rate)

    def __call__(self, audio: np.ndarray, generator: np.random.Generator) -> np.ndarray:
        config, recordings = self.config, self.recordings
        which, where = generator.random(), generator.random()
        snr_db = generator.uniform(config.min_snr_db, config.max_snr_db)
        index = int(which * len(recordings))
        audio_s = len(audio) / self.sample_rate
        spare_s = recordings.duration_s(index) - audio_s
        if spare_s > 0:
            noise, at = recordings.part(index, where * spare_s, audio_s)[: len(audio)], 0
        else:
            noise = recordings.whole(index)[: len(audio)]
            at = int(where * (len(audio) - len(noise) + 1))
        speech_power, noise_power = (np.mean(np.square(x, dtype=np.float64)) for x in (audio, noise))
        if not speech_power or not noise_power:
            return audio
        gain = min(np.sqrt(speech_power / noise_power) * 10 ** (-snr_db / 20), 10 ** (config.max_gain_db / 20))
        mixed = audio.copy()
        mixed[at : at + len(noise)] += np.float32(gain) * noise
        return mixed
