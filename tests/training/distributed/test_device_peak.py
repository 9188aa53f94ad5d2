"""The peak that a run's model FLOPs are compared with."""

import time

import pytest

from jasper_tf.config import TrainerConfig
from jasper_tf.training.distributed.device_peak import DevicePeak, find_peak, gpu_peak, measure_matmul


@pytest.mark.parametrize(
    ("name", "dtype", "tflop_per_s"),
    [
        ("NVIDIA A100-SXM4-80GB", "float32", 156.0),
        ("NVIDIA A10", "bfloat16", 125.0),
        ("NVIDIA A10G", "bfloat16", 70.0),
        ("NVIDIA H100 80GB HBM3", "bfloat16", 989.4),
        ("NVIDIA H100 PCIe", "float16", 756.0),
        ("NVIDIA H200", "float32", 494.7),
        ("Tesla V100-SXM2-16GB", "bfloat16", None),
        ("Tesla T4", "float16", 65.0),
        ("NVIDIA L4", "float32", 60.0),
        ("NVIDIA L40S", "float32", 183.0),
        ("Matrox Millennium", "float32", None),
    ],
)
def test_a_gpu_by_its_name(name, dtype, tflop_per_s):
    assert gpu_peak(name, dtype) == (None if tflop_per_s is None else pytest.approx(tflop_per_s * 1e12))


def test_a_given_peak_counts_for_each_gpu_and_once_for_the_cpus_of_a_machine():
    trainer = TrainerConfig(peak_tflop_per_s=2.0)
    assert find_peak(trainer, ["/device:GPU:0", "/device:GPU:1"], 2).flop_per_s == 4e12
    assert find_peak(trainer, ["/device:CPU:0", "/device:CPU:1"], 2).flop_per_s == 2e12
    assert find_peak(TrainerConfig(peak_tflop_per_s=2.0, num_nodes=3), ["/device:CPU:0"], 3).flop_per_s == 6e12


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_cpu_is_measured(dtype):
    begin = time.perf_counter()
    assert 1e8 < measure_matmul(dtype) < 1e15
    assert time.perf_counter() - begin < 30  # not by a matrix that is too large for it


def test_the_highest_measurement_counts():
    measured = iter([2.0, 5.0, 3.0])
    peak = DevicePeak(0.0, lambda: next(measured))
    assert peak.is_measured and peak.flop_per_s == 2.0
    peak.measure()
    peak.measure()
    assert peak.flop_per_s == 5.0
    known = DevicePeak(4.0)
    known.measure()
    assert not known.is_measured and known.flop_per_s == 4.0
