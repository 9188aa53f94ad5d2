"""Trims silence from both ends of a recording."""

from __future__ import annotations

import numpy as np

_TOP_DB = 60.0
_HOP = 512
_HOPS_PER_FRAME = 4
_QUIETEST = 1e-5
"""RMS values below count as this one: what librosa.amplitude_to_db takes for `amin`."""


def trim_silence(audio: np.ndarray) -> np.ndarray:
    """audio [S] float32, full scale 1 -> the stretch [<= S] from its first to its last frame that is not silent.

    Frames of 2048 samples are centered on every 512th, zeros beyond the ends; one is silent when its RMS is 60 dB or
    more below that of the loudest. What stays begins at the center of the first loud frame and ends one hop after the
    center of the last, or with the audio. Lengths are in samples, whatever the rate.

    Never empty: a recording whose loudest frame has an RMS below 0.01 (-40 dB of full scale), one of zeros among them,
    stays whole, as no frame counts as quieter than 1e-5.

    Source: NeMo: AudioSegment with trim, which is librosa.effects.trim(top_db=60, ref=max, frame_length=2048,
    hop_length=512) after the resampling.
    """
    hops = np.zeros(len(audio) // _HOP + 1)
    starts = np.arange(0, len(audio), _HOP)
    hops[: len(starts)] = np.add.reduceat(np.square(audio, dtype=np.float64), starts)
    # Frame k holds the hops k - 2 to k + 1.
    energy = np.convolve(hops, np.ones(_HOPS_PER_FRAME))[1 : len(hops) + 1]
    rms = np.maximum(np.sqrt(energy / (_HOPS_PER_FRAME * _HOP)), _QUIETEST)
    loud = np.flatnonzero(rms > rms.max() * 10 ** (-_TOP_DB / 20))
    return audio[loud[0] * _HOP : (loud[-1] + 1) * _HOP]
