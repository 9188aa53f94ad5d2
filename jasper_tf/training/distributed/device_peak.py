"""Peak of the devices' matrix multiplication, against which a run's model FLOPs are compared."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence

import keras
import tensorflow as tf

from jasper_tf.config import TrainerConfig

# TFLOP/s without sparsity, from NVIDIA's data sheets: float32 as TensorFlow computes it (TF32 where the GPU has it),
# bfloat16, float16. The first name that is a word of the device's name counts.
_GPUS: tuple[tuple[str, float, float | None, float], ...] = (
    ("B200", 1125.0, 2250.0, 2250.0),
    ("GH200", 494.7, 989.4, 989.4),
    ("H200 NVL", 417.5, 835.5, 835.5),
    ("H200", 494.7, 989.4, 989.4),
    ("H100 PCIe", 378.0, 756.0, 756.0),
    ("H100 NVL", 417.5, 835.5, 835.5),
    ("H100", 494.7, 989.4, 989.4),
    ("A100", 156.0, 312.0, 312.0),
    ("A30", 82.0, 165.0, 165.0),
    ("A40", 74.8, 149.7, 149.7),
    ("A10G", 35.0, 70.0, 70.0),
    ("A10", 62.5, 125.0, 125.0),
    ("L40S", 183.0, 362.0, 362.0),
    ("L4", 60.0, 121.0, 121.0),
    ("RTX 4090", 82.6, 165.2, 165.2),
    ("RTX 3090", 35.6, 71.0, 71.0),
    ("V100", 15.7, None, 125.0),
    ("T4", 8.1, None, 65.0),
)
_MEASURING_S = 0.15
_LARGEST = 2048


class DevicePeak:
    """The FLOP/s that the matrix multiplications of a run could reach on all its devices: what MFU relates to.

    Args:
        flop_per_s: as known before; 0 if it is measured.
        measure: returns a measurement; None where the peak is known.

    Attributes:
        flop_per_s: the highest so far.
        is_measured: whether another measurement may raise it.
    """

    def __init__(self, flop_per_s: float, measure: Callable[[], float] | None = None):
        self.flop_per_s = flop_per_s
        self.is_measured = measure is not None
        self._measure = measure
        self.measure()

    def measure(self) -> None:
        """Measures again, where the peak is measured, and keeps the higher value."""
        if self._measure:
            self.flop_per_s = max(self.flop_per_s, self._measure())

    def __str__(self) -> str:
        return f"{self.flop_per_s / 1e12:.3g} TFLOP/s are the peak of matrix multiplication, to which MFU relates"


def find_peak(trainer: TrainerConfig, devices: Sequence[str], replicas: int) -> DevicePeak | None:
    """Returns the peak of a run's devices; None if unknown.

    `trainer.peak_tflop_per_s` of each device, where it is given; else a GPU's by its name, and a CPU's as measured.
    Both are for the type that the network computes in: bfloat16 with `trainer.precision=bf16-mixed`. The CPU devices of
    one machine share its processor and count once.

    Args:
        trainer: with `set_precision` already applied.
        devices: TensorFlow's names of this process's devices.
        replicas: devices of the run, on all machines.
    """
    on_gpu = "GPU" in devices[0]
    count = replicas if on_gpu else trainer.num_nodes
    if trainer.peak_tflop_per_s is not None:
        return DevicePeak(count * trainer.peak_tflop_per_s * 1e12)
    dtype = keras.config.dtype_policy().compute_dtype
    if not on_gpu:
        return DevicePeak(0.0, lambda: count * measure_matmul(dtype))
    gpus = tf.config.list_physical_devices("GPU")
    name = tf.config.experimental.get_device_details(gpus[0]).get("device_name", "") if gpus else ""
    peak = gpu_peak(name, dtype)
    return None if peak is None else DevicePeak(count * peak)


def gpu_peak(name: str, dtype: str) -> float | None:
    """FLOP/s of a GPU by its name ("NVIDIA H100 80GB HBM3") in "float32", "bfloat16" or "float16"; None if unknown."""
    for part, *tflop_per_s in _GPUS:
        if re.search(rf"\b{part}\b", name):
            peak = tflop_per_s[("float32", "bfloat16", "float16").index(dtype)]
            return None if peak is None else peak * 1e12
    return None


def measure_matmul(dtype: str = "float32") -> float:
    """FLOP/s of the largest square matrix multiplication that takes less than 0.1 s here; measured for 0.2 s."""
    size, best, spent = 256, 0.0, 0.0
    with tf.device("CPU:0"):
        matrix = tf.fill((size, size), tf.cast(0.5, dtype))
        while spent < _MEASURING_S:
            begin = time.perf_counter()
            tf.linalg.matmul(matrix, matrix)[0, 0].numpy()
            took = time.perf_counter() - begin
            spent += took
            best = max(best, 2 * size**3 / took)
            if size < _LARGEST and 8 * took < _MEASURING_S - spent:
                size *= 2
                matrix = tf.fill((size, size), tf.cast(0.5, dtype))
    return best
