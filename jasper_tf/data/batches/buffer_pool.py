"""Buffer pool for padded batches."""

from __future__ import annotations

import weakref
from collections import deque

import numpy as np

_ALIGNMENT = 64
"""Bytes. TensorFlow copies what begins elsewhere, and takes over what begins here."""

_KEPT = 8


class BufferPool:
    """Allocates arrays for batches and reuses their memory once they are freed.

    New pages cost as much as decoding PCM into them: the kernel fills each with zeros first. What is kept is at most
    eight batches, and only while batches of about that size come.
    """

    def __init__(self):
        # Only single operations on it, which no thread interrupts: batches are freed wherever the last holder is.
        self._free: deque[np.ndarray] = deque(maxlen=_KEPT)

    def take(self, rows: int, samples: int) -> np.ndarray:
        """An array [rows, samples] float32 with undefined content, for one owner."""
        wanted = 4 * rows * samples + _ALIGNMENT
        memory = self._kept(wanted)
        if memory is None:
            memory = np.empty(wanted, np.uint8)
        start = -memory.ctypes.data % _ALIGNMENT
        batch = memory[start : start + 4 * rows * samples].view(np.float32).reshape(rows, samples)
        # Parts of `batch` refer to `memory` and do not keep it from being given again; TensorFlow holds `batch` itself.
        weakref.finalize(batch, self._free.append, memory).atexit = False
        return batch

    def _kept(self, wanted: int) -> np.ndarray | None:
        for _ in range(len(self._free)):
            try:
                memory = self._free.popleft()
            except IndexError:  # another thread took the last
                return None
            if wanted <= memory.size <= 2 * wanted:
                return memory
            self._free.append(memory)
        return None
