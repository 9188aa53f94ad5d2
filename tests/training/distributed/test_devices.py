"""`accelerator`, `devices` and `precision` of the trainer section."""

import keras
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.training.distributed.devices import build_strategy, choose_devices, set_precision

NO_GPU = pytest.mark.skipif(bool(tf.config.list_physical_devices("GPU")), reason="for machines without GPU")


@pytest.mark.parametrize("devices", [1, [0], -1, "auto"])
def test_the_cpu_by_any_name(devices):
    assert choose_devices("cpu", devices) == ["/device:CPU:0"]


@NO_GPU
def test_auto_without_gpu_is_the_cpu():
    assert choose_devices("auto", 1) == ["/device:CPU:0"]


@NO_GPU
def test_gpu_where_none_is():
    with pytest.raises(UserError, match="trainer.accelerator: gpu, but TensorFlow sees no GPU here; use cpu or auto"):
        choose_devices("gpu", 1)


@pytest.mark.parametrize("devices", [2, [0, 1], [1], 0])
def test_more_than_there_are(devices):
    with pytest.raises(UserError, match=r"trainer.devices: .*, but this machine has 1 CPU\(s\); use -1 for all"):
        choose_devices("cpu", devices)


def test_one_cpu_needs_no_strategy():
    assert build_strategy(["/device:CPU:0"]) is tf.distribute.get_strategy()


@pytest.mark.parametrize(
    ("precision", "policy"),
    [(32, "float32"), ("32-true", "float32"), ("bf16-mixed", "mixed_bfloat16"), ("16-mixed", "mixed_float16")],
)
def test_precision(precision, policy):
    try:
        set_precision(precision)
        assert keras.config.dtype_policy().name == policy
    finally:
        keras.config.set_dtype_policy("float32")
