"""Triangular mel filters on the Slaney scale."""

import numpy as np

from jasper_tf.errors import UserError

# Slaney's Auditory Toolbox: linear below 1 kHz (200/3 Hz a mel), 27 logarithmic steps for each factor of 6.4 above.
_HZ_PER_MEL = 200.0 / 3.0
_BREAK_HZ = 1000.0
_BREAK_MEL = _BREAK_HZ / _HZ_PER_MEL
_LOG_STEP = np.log(6.4) / 27.0


def hz_to_mel(hz: np.ndarray | float) -> np.ndarray:
    """Converts frequency in Hz to Slaney mels, element by element."""
    hz = np.asarray(hz, np.float64)
    return np.where(
        hz < _BREAK_HZ, hz / _HZ_PER_MEL, _BREAK_MEL + np.log(np.maximum(hz, _BREAK_HZ) / _BREAK_HZ) / _LOG_STEP
    )


def mel_to_hz(mel: np.ndarray | float) -> np.ndarray:
    """Converts Slaney mels to frequency in Hz, element by element."""
    mel = np.asarray(mel, np.float64)
    return np.where(mel < _BREAK_MEL, mel * _HZ_PER_MEL, _BREAK_HZ * np.exp(_LOG_STEP * (mel - _BREAK_MEL)))


def mel_edges_hz(features: int, lowfreq_hz: float, highfreq_hz: float) -> np.ndarray:
    """Returns [F+2] frequencies in Hz: band k rises from edge k to its peak at edge k+1 and falls to edge k+2."""
    return mel_to_hz(np.linspace(hz_to_mel(lowfreq_hz), hz_to_mel(highfreq_hz), features + 2))


def mel_filterbank(
    sample_rate: int,
    n_fft: int,
    features: int,
    lowfreq_hz: float = 0.0,
    highfreq_hz: float | None = None,
    mel_norm: str | None = "slaney",
) -> np.ndarray:
    """Returns the weights from a power spectrum to mel energies: `power @ weights`.

    Args:
        sample_rate: samples per second.
        n_fft: length of the Fourier transform in samples.
        features: number of mel bands, F.
        lowfreq_hz, highfreq_hz: edges of the lowest and highest band; None is half the sample rate.
        mel_norm: "slaney" scales each triangle by 2 / its width in Hz (equal area); None leaves its peak at 1.

    Returns:
        float32 [n_fft // 2 + 1, F].

    Raises:
        UserError: the band is empty or beyond half the sample rate, or `mel_norm` is unknown.

    Source: M. Slaney, Auditory Toolbox (1998); NeMo: `librosa.filters.mel`.
    """
    nyquist_hz = sample_rate / 2
    highfreq_hz = nyquist_hz if highfreq_hz is None else highfreq_hz
    if not 0 <= lowfreq_hz < highfreq_hz <= nyquist_hz:
        raise UserError(
            f"preprocessor: lowfreq {lowfreq_hz:g} Hz and highfreq {highfreq_hz:g} Hz must satisfy "
            f"0 <= lowfreq < highfreq <= {nyquist_hz:g} (half the sample rate)"
        )
    if mel_norm not in ("slaney", None):
        raise UserError(f"preprocessor.mel_norm: {mel_norm!r} is unknown; use 'slaney' or null")
    edges_hz = mel_edges_hz(features, lowfreq_hz, highfreq_hz)
    bins_hz = np.linspace(0.0, nyquist_hz, n_fft // 2 + 1)[:, None]
    low, peak, high = edges_hz[:-2], edges_hz[1:-1], edges_hz[2:]
    weights = np.maximum(0.0, np.minimum((bins_hz - low) / (peak - low), (high - bins_hz) / (high - peak)))
    if mel_norm == "slaney":
        weights *= 2.0 / (high - low)
    return weights.astype(np.float32)
