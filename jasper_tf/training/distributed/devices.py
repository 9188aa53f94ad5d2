"""Devices, strategy and precision of a run."""

from __future__ import annotations

import keras
import tensorflow as tf

from jasper_tf.config import TrainerConfig
from jasper_tf.errors import UserError
from jasper_tf.training.distributed.workers import build_multi_worker_strategy

_POLICIES = {"32": "float32", "bf16": "mixed_bfloat16", "16": "mixed_float16"}


def choose_devices(accelerator: str, devices: int | str | list[int]) -> list[str]:
    """Returns the names of the logical devices for `trainer.accelerator` and `trainer.devices`.

    Args:
        accelerator: "cpu", "gpu", or "auto" (GPUs where there are any).
        devices: a number, a list of indices, -1 or "auto" for all.

    Raises:
        UserError: more devices than the machine has, or none of that kind.
    """
    kind = "GPU" if accelerator in ("gpu", "cuda") else "CPU"
    if accelerator == "auto" and tf.config.list_physical_devices("GPU"):
        kind = "GPU"
    there = [device.name for device in tf.config.list_logical_devices(kind)]
    if not there:
        raise UserError(f"trainer.accelerator: {accelerator}, but TensorFlow sees no GPU here; use cpu or auto")
    return _choose(there, devices, kind)


def _choose(there: list, devices: int | str | list[int], kind: str) -> list:
    if devices in (-1, "-1", "auto"):
        return there
    wanted = devices if isinstance(devices, list) else list(range(int(devices)))
    if not wanted or max(wanted) >= len(there):
        raise UserError(f"trainer.devices: {devices}, but this machine has {len(there)} {kind}(s); use -1 for all")
    return [there[i] for i in wanted]


def build_strategy(names: list[str]) -> tf.distribute.Strategy:
    """Builds a MirroredStrategy for several devices, or a strategy that places everything on one."""
    if len(names) == 1:
        return tf.distribute.OneDeviceStrategy(names[0]) if "GPU" in names[0] else tf.distribute.get_strategy()
    # Collectives between logical CPU devices can deadlock; reducing to one device cannot.
    on_cpu = "CPU" in names[0]
    return tf.distribute.MirroredStrategy(
        names, cross_device_ops=tf.distribute.ReductionToOneDevice() if on_cpu else None
    )


def strategy_of(trainer: TrainerConfig) -> tuple[tf.distribute.Strategy, list[str]]:
    """Builds the strategy for `accelerator`, `devices` and `num_nodes`; returns it with the devices of this process.

    Raises:
        UserError: the devices do not exist, or the settings contradict each other.
    """
    if trainer.num_nodes == 1:
        names = choose_devices(trainer.accelerator, trainer.devices)
        strategy = build_strategy(names)
    else:
        # The strategy must be built before TensorFlow initializes its devices: visibility selects them.
        gpus = [] if trainer.accelerator == "cpu" else tf.config.list_physical_devices("GPU")
        if trainer.accelerator == "gpu" and not gpus:
            raise UserError("trainer.accelerator: gpu, but TensorFlow sees no GPU here; use cpu or auto")
        if gpus:
            gpus = _choose(gpus, trainer.devices, "GPU")
        elif trainer.devices not in (1, [0], -1, "-1", "auto"):
            raise UserError(
                f"trainer.devices: {trainer.devices}, but with num_nodes above 1 each machine has one CPU device; use 1"
            )
        tf.config.set_visible_devices(gpus, "GPU")
        strategy = build_multi_worker_strategy(trainer.num_nodes)
        names = list(strategy.extended.worker_devices)
    if trainer.jit_compile and strategy.num_replicas_in_sync > 1:
        raise UserError("trainer.jit_compile: XLA compiles for one device only; use devices: 1 and num_nodes: 1")
    return strategy, names


def set_precision(precision: int | str) -> None:
    """Sets the dtype policy for `trainer.precision` (32, bf16-mixed or 16-mixed); features and CTC stay float32."""
    keras.config.set_dtype_policy(_POLICIES[str(precision).removesuffix("-mixed").removesuffix("-true")])
