"""Measures the peak of a CPU again during the training."""

from __future__ import annotations

import time
from collections.abc import Callable

import keras

from jasper_tf.training.distributed.device_peak import DevicePeak

_FIRST_S = 20.0
_WORTH_SAYING = 1.05


class MeasurePeak(keras.callbacks.Callback):
    """Measures a CPU's peak again 20 s after the start, and whenever the training has lasted half as long again.

    What else the machine does only lowers a measurement, so the highest counts. All of them together take less than 1 %
    of the training. It must come before the callbacks that time the steps.

    Args:
        peak: of the run.
        say: prints a line when the peak is higher by 5 %.
    """

    def __init__(self, peak: DevicePeak, say: Callable[[str], None]):
        super().__init__()
        self.peak = peak
        self.say = say

    def on_train_begin(self, logs=None):
        self._began, self._next_s = time.perf_counter(), _FIRST_S
        self._said = self.peak.flop_per_s

    def on_train_batch_begin(self, batch, logs=None):
        seconds = time.perf_counter() - self._began
        if seconds < self._next_s:
            return
        self._next_s = 1.5 * seconds
        self.peak.measure()
        if self.peak.flop_per_s > _WORTH_SAYING * self._said:
            self._said = self.peak.flop_per_s
            self.say(str(self.peak))
