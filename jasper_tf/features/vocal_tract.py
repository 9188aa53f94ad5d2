"""Vocal tract length perturbation: other speakers' formants from the same recordings."""

from typing import Any

import keras
import numpy as np
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.features.mel_filterbank import hz_to_mel, mel_to_hz

_STEPS = 256


def warped_hz(hz: np.ndarray, warp: np.ndarray | float, cutoff_hz: float, nyquist_hz: float) -> np.ndarray:
    """Frequencies times `warp` up to the cutoff, then straight on to half the sample rate, which stays where it is."""
    edge = cutoff_hz * np.minimum(warp, 1.0)
    slope = (nyquist_hz - edge) / (nyquist_hz - edge / warp)
    return np.where(hz <= edge / warp, hz * warp, nyquist_hz - slope * (nyquist_hz - hz))


@keras.saving.register_keras_serializable(package="jasper_tf")
class VocalTractPerturbation(keras.layers.Layer):
    """Each mel band takes the energy found around `warp` times its centre frequency; a warp per utterance, in training.

    A long vocal tract (most men) has low formants, a short one (women, children) high ones. Speed perturbation moves
    them too, but the tempo with them: it makes no slow speaker with a short vocal tract.

    Energies between two bands are interpolated, on the mel scale; beyond the outer bands those hold.

    Args:
        sample_rate: of the audio, Hz.
        lowfreq_hz, highfreq_hz: edges of the mel bands; None is half the sample rate.
        min_warp, max_warp: the warp is uniform in between, in 256 steps; above 1 formants come down.
        prob: share of the utterances that are warped.
        cutoff_hz: where the straight line that leads back to half the sample rate begins.
        seed: of the warps.

    Call arguments:
        features: [B, T, F] log-mel energies, not normalised.
        training: returns `features` as they are unless true.

    Returns:
        features [B, T, F] float32.

    Raises:
        UserError: a warp outside 0.5 to 2, a range upside down, or a cutoff that is too high for it.

    Source: Jaitly and Hinton 2013, "Vocal Tract Length Perturbation (VTLP) improves speech recognition", section 3,
    where warps are between 0.9 and 1.1 and the cutoff is 4800 Hz. NeMo has no such augmentation.
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        lowfreq_hz: float = 0.0,
        highfreq_hz: float | None = None,
        min_warp: float = 0.9,
        max_warp: float = 1.1,
        prob: float = 1.0,
        cutoff_hz: float = 4800.0,
        seed: int = 0,
        **kwargs: Any,
    ):
        kwargs["dtype"] = "float32"
        super().__init__(**kwargs)
        if not 0.5 <= min_warp <= max_warp <= 2.0:
            raise UserError(
                f"vocal_tract: min_warp {min_warp} and max_warp {max_warp} must satisfy "
                "0.5 <= min_warp <= max_warp <= 2"
            )
        if not 0 < cutoff_hz * max(1.0, 1.0 / min_warp) < sample_rate / 2:
            raise UserError(
                f"vocal_tract.cutoff_hz: {cutoff_hz:g} Hz is not below half the sample rate ({sample_rate / 2:g} Hz), "
                f"divided by min_warp {min_warp:g}; take a lower one"
            )
        self.sample_rate, self.lowfreq_hz, self.highfreq_hz = sample_rate, lowfreq_hz, highfreq_hz
        self.min_warp, self.max_warp, self.prob = min_warp, max_warp, prob
        self.cutoff_hz, self.seed = cutoff_hz, seed
        self._seed_generator = keras.random.SeedGenerator(seed)

    def _sources(self, bands: int) -> np.ndarray:
        """For each of the warps where each band looks: [warps, F], in bands from the lowest one's centre."""
        nyquist_hz = self.sample_rate / 2
        highfreq_hz = nyquist_hz if self.highfreq_hz is None else self.highfreq_hz
        # Edges of the lowest and the highest band, and the centres in between.
        mels = np.linspace(hz_to_mel(self.lowfreq_hz), hz_to_mel(highfreq_hz), bands + 2)
        warps = np.linspace(self.min_warp, self.max_warp, _STEPS)[:, None]
        sources = hz_to_mel(warped_hz(mel_to_hz(mels[1:-1]), warps, self.cutoff_hz, nyquist_hz))
        return np.clip((sources - mels[1]) / (mels[1] - mels[0]), 0, bands - 1).astype(np.float32)

    def call(self, features, training=None):
        if not training:
            return features
        batch, bands = ops.shape(features)[0], features.shape[-1]
        uniform = keras.random.uniform((2, batch), seed=self._seed_generator)
        drawn = ops.minimum(ops.cast(uniform[0] * _STEPS, "int32"), _STEPS - 1)
        band = np.arange(bands, dtype=np.float32)
        source = ops.take(self._sources(bands), drawn, axis=0)
        source = ops.where(uniform[1][:, None] < self.prob, source, band)  # [B,F]
        weights = ops.relu(1.0 - ops.abs(source[:, None, :] - band[None, :, None]))  # [B,F,F]
        return ops.matmul(features, weights)

    def compute_output_shape(self, features_shape):
        return tuple(features_shape)

    def get_config(self):
        names = ("sample_rate", "lowfreq_hz", "highfreq_hz", "min_warp", "max_warp", "prob", "cutoff_hz", "seed")
        return super().get_config() | {name: getattr(self, name) for name in names}
