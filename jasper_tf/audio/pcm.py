"""Integer PCM to floats of full scale 1."""

from __future__ import annotations

import numpy as np

PCM_TYPES = ("int8", "int16", "int32", "uint8")
"""Integer types of audio; there is no PCM of 64 bits, and none without sign above 8."""


def to_float(samples: np.ndarray) -> np.ndarray:
    """samples of any shape, floats or one of `PCM_TYPES` -> float32, full scale 1; uint8 is centered at 128."""
    if samples.dtype.kind == "f":
        with np.errstate(over="ignore"):  # infinity is refused later
            return samples.astype(np.float32, copy=False)
    full_scale = 2.0 ** (8 * samples.dtype.itemsize - 1)
    return samples.astype(np.float32) / np.float32(full_scale) - np.float32(samples.dtype.kind == "u")
