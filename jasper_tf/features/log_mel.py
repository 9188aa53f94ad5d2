"""Raw audio to log-mel spectrogram, as a layer of the model."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from jasper_tf.errors import UserError
from jasper_tf.features.framing import Framing
from jasper_tf.features.mel_filterbank import mel_edges_hz, mel_filterbank
from jasper_tf.features.random_numbers import normal
from jasper_tf.features.valid_frames import valid_frames

# Symmetric windows (first and last sample equal), as NeMo makes them; NumPy's are symmetric.
_WINDOWS: dict[str, Callable[[int], np.ndarray]] = {
    "hann": np.hanning,
    "hamming": np.hamming,
    "blackman": np.blackman,
    "bartlett": np.bartlett,
    "none": np.ones,
}
_GUARD_NAMES = {"tiny": float(np.finfo(np.float32).tiny), "eps": float(np.finfo(np.float32).eps)}


@keras.saving.register_keras_serializable(package="jasper_tf")
class LogMelSpectrogram(keras.layers.Layer):
    """Log-mel energies of raw audio; float32 whatever the global dtype policy.

    Dither (training) -> pre-emphasis -> zero beyond the length -> STFT -> |.| ** mag_power -> mel -> log.

    Args:
        sample_rate: samples per second of the audio.
        window_size_s, window_stride_s: length and hop of the analysis window, seconds.
        window: "hann", "hamming", "blackman", "bartlett" or "none" (rectangular); symmetric, centered in n_fft.
        n_fft: length of the Fourier transform, samples; None is the next power of two of the window.
        features: number of mel bands, F.
        lowfreq_hz, highfreq_hz: edges of the mel bands; None is half the sample rate.
        preemph: y[t] = x[t] - preemph * x[t-1]; None turns it off.
        dither: standard deviation of the noise added to each sample in training; 0 turns it off.
        mag_power: exponent on the magnitude of the spectrum.
        mel_norm: "slaney" or None (see `mel_filterbank`).
        log: False returns the energies.
        log_zero_guard_type: "add" is log(x + guard), "clamp" is log(max(x, guard)).
        log_zero_guard_value: a number, "tiny" or "eps" (of float32).
        exact_pad: pad (n_fft - hop) / 2 samples on each side instead of n_fft / 2.
        generation: "modern" is NeMo >= 2.5: zero padding, `n // hop` valid frames. "legacy" is NeMo <= 2.4.1: padding
            by reflection over the padded batch, samples beyond the length kept, `n // hop + 1` valid frames; an
            utterance's last frames then depend on its padding.
        seed: of the dither.

    Call arguments:
        audio: [B, S] float.
        audio_len: [B] int32 or int64, valid samples.
        training: dither only when true.

    Returns:
        features [B, T, F] float32 with T = 1 + S // hop (frames beyond the length are not masked here), and
        feature_len [B] int32. An utterance without samples has no frames.

    Raises:
        UserError: an argument is unknown or impossible.

    Source: NeMo: AudioToMelSpectrogramPreprocessor / FilterbankFeatures.

    Example:
        >>> features, feature_len = LogMelSpectrogram()(audio, audio_len)
    """

    def __init__(
        self,
        sample_rate: int = 16000,
        window_size_s: float = 0.02,
        window_stride_s: float = 0.01,
        window: str = "hann",
        n_fft: int | None = None,
        features: int = 64,
        lowfreq_hz: float = 0.0,
        highfreq_hz: float | None = None,
        preemph: float | None = 0.97,
        dither: float = 1e-5,
        mag_power: float = 2.0,
        mel_norm: str | None = "slaney",
        log: bool = True,
        log_zero_guard_type: str = "add",
        log_zero_guard_value: float | str = 2**-24,
        exact_pad: bool = False,
        generation: str = "modern",
        seed: int = 0,
        **kwargs: Any,
    ):
        kwargs["dtype"] = "float32"  # the logarithm of small energies needs its precision
        super().__init__(**kwargs)
        self.framing = Framing.from_seconds(sample_rate, window_size_s, window_stride_s, n_fft, exact_pad, generation)
        for key, value, known in (
            ("window", window, tuple(_WINDOWS)),
            ("log_zero_guard_type", log_zero_guard_type, ("add", "clamp")),
            ("generation", generation, ("modern", "legacy")),
        ):
            if value not in known:
                raise UserError(f"preprocessor.{key}: {value!r} is unknown; use one of {', '.join(known)}")
        if isinstance(log_zero_guard_value, str) and log_zero_guard_value not in _GUARD_NAMES:
            raise UserError(
                f"preprocessor.log_zero_guard_value: {log_zero_guard_value!r} is unknown; use a number, tiny or eps"
            )
        self.sample_rate, self.window_size_s, self.window_stride_s = sample_rate, window_size_s, window_stride_s
        self.window, self.n_fft, self.features = window, n_fft, features
        self.lowfreq_hz, self.highfreq_hz, self.mel_norm = lowfreq_hz, highfreq_hz, mel_norm
        self.preemph, self.dither, self.mag_power = preemph, dither, mag_power
        self.log, self.log_zero_guard_type = log, log_zero_guard_type
        self.log_zero_guard_value = log_zero_guard_value
        self.exact_pad, self.generation, self.seed = exact_pad, generation, seed
        guard = log_zero_guard_value
        self.guard = _GUARD_NAMES[guard] if isinstance(guard, str) else guard
        self.window_values = _WINDOWS[window](self.framing.window_samples).astype(np.float32)
        fft_samples = self.framing.fft_samples
        self.mel_weights = mel_filterbank(sample_rate, fft_samples, features, lowfreq_hz, highfreq_hz, mel_norm)
        self._seed_generator = keras.random.SeedGenerator(seed)

    @property
    def band_hz(self) -> np.ndarray:
        """[F] frequencies in Hz of the peaks of the mel bands."""
        return mel_edges_hz(self.features, self.lowfreq_hz, self.highfreq_hz or self.sample_rate / 2)[1:-1]

    def call(self, audio, audio_len, training=None):
        audio_len = ops.cast(audio_len, "int32")
        if self.exact_pad:
            audio = self._pad_sides(audio)
        if training and self.dither:
            audio = audio + self.dither * normal(ops.shape(audio), self._seed_generator)
        audio = self.preemphasize(audio)
        if self.generation == "modern":
            # With exact_pad NeMo also counts the length from the start of the padding: the last samples are lost.
            # ops.where, not a product: padding may hold inf or NaN.
            audio = ops.where(valid_frames(audio_len, ops.shape(audio)[1]), audio, 0.0)
        if not self.exact_pad:
            audio = self._pad_sides(audio)
        return self.log_mel(audio), self.framing.frames(audio_len, ops)

    def preemphasize(self, audio):
        """Subtracts `preemph` times the sample before from each sample but the first: [B,S] -> [B,S]."""
        if self.preemph is None:
            return audio
        return ops.concatenate([audio[:, :1], audio[:, 1:] - self.preemph * audio[:, :-1]], axis=1)

    def log_mel(self, audio):
        """Features [B,T,F] of pre-emphasized audio [B,S] with its padding: one frame for each `n_fft` samples in it."""
        f = self.framing
        real, imaginary = ops.stft(
            audio, f.window_samples, f.hop_samples, f.fft_samples, self.window_values, center=False
        )
        spectrum = ops.square(real) + ops.square(imaginary)
        if self.mag_power != 2.0:
            spectrum = ops.power(spectrum, self.mag_power / 2)
        energies = ops.matmul(spectrum, self.mel_weights)
        if self.log:
            is_added = self.log_zero_guard_type == "add"
            energies = ops.log(energies + self.guard if is_added else ops.maximum(energies, self.guard))
        return energies

    def _pad_sides(self, audio):
        pad = self.framing.pad_samples
        if self.generation == "modern":
            return ops.pad(audio, [[0, 0], [pad, pad]])
        last = ops.shape(audio)[1] - 1
        index = ops.abs(ops.arange(-pad, last + 1 + pad, dtype="int32"))
        # Clipped, so that audio shorter than the padding is defined too (NeMo raises there).
        index = ops.clip(ops.where(index > last, 2 * last - index, index), 0, last)
        return ops.take(audio, index, axis=1)

    def compute_output_shape(self, audio_shape, audio_len_shape):
        batch, samples = audio_shape
        frames = None if samples is None else self.framing.padded_frames(samples)
        return (batch, frames, self.features), tuple(audio_len_shape)

    def compute_output_spec(self, audio, audio_len, training=None):
        features_shape, length_shape = self.compute_output_shape(audio.shape, audio_len.shape)
        return keras.KerasTensor(features_shape, "float32"), keras.KerasTensor(length_shape, "int32")

    def get_config(self):
        names = (
            "sample_rate window_size_s window_stride_s window n_fft features lowfreq_hz highfreq_hz preemph dither "
            "mag_power mel_norm log log_zero_guard_type log_zero_guard_value exact_pad generation seed"
        ).split()
        return super().get_config() | {name: getattr(self, name) for name in names}
