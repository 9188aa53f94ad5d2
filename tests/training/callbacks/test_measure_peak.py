"""The peak of a CPU, measured during the training."""

import time
from types import SimpleNamespace

from jasper_tf.training.callbacks.measure_peak import MeasurePeak
from jasper_tf.training.distributed.device_peak import DevicePeak


def test_a_busy_start_does_not_stay_the_peak(monkeypatch):
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(time, "perf_counter", lambda: clock.now)
    measured, said = [], []

    def measure():
        measured.append(clock.now)
        return 3e11 if len(measured) == 2 else 1e11

    peak = DevicePeak(0.0, measure)
    callback = MeasurePeak(peak, said.append)
    callback.on_train_begin()
    for step in range(1000):
        callback.on_train_batch_begin(step)
        clock.now += 1.0
    assert peak.flop_per_s == 3e11 and said == [str(peak)]
    assert len(measured) == 11  # 0.15 s each
