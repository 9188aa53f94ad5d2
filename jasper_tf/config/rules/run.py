"""Rules of `trainer` and `exp_manager`: durations, devices, the run's folder and what it monitors."""

from __future__ import annotations

import re
from pathlib import PurePath

from jasper_tf.config.duration import seconds
from jasper_tf.config.rules.monitor import check_monitor
from jasper_tf.config.schema import Config
from jasper_tf.config.section import MISSING
from jasper_tf.config.source import ConfigSource, Keys
from jasper_tf.errors import hide_secrets, shorten

_CONTROL = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")
_NAME_BYTES = 255  # NAME_MAX of Linux
_PATH_BYTES = 1024  # of PATH_MAX, 4096: files in the run's folder need the rest


def check_run(config: Config, source: ConfigSource) -> None:
    """Checks `trainer` and `exp_manager` beyond the types of their values. Raises UserError."""
    _check_durations(config, source)
    if config.trainer.auto_batch_duration and config.trainer.num_nodes > 1:
        message = "is for one machine; find the value on one, and set model.train_ds.batch_duration"
        raise source.error(("trainer", "auto_batch_duration"), message)
    devices, manager = config.trainer.devices, config.exp_manager
    if isinstance(devices, list) and len(set(devices)) != max(1, len(devices)):
        raise source.error(("trainer", "devices"), "expected different devices, at least one")
    for section in ("checkpoint_callback_params", "early_stopping_callback_params"):
        if section == "checkpoint_callback_params" or manager.create_early_stopping_callback:
            check_monitor(config, getattr(manager, section).monitor, ("exp_manager", section, "monitor"), source)
    _check_folder(config, source)


def _check_durations(config: Config, source: ConfigSource) -> None:
    checkpoints = config.exp_manager.checkpoint_callback_params
    for keys, value in (
        (("trainer", "max_time"), config.trainer.max_time),
        (("exp_manager", "max_time_per_run"), config.exp_manager.max_time_per_run),
        (("exp_manager", "checkpoint_callback_params", "train_time_interval"), checkpoints.train_time_interval),
    ):
        if value not in (None, MISSING):
            try:
                seconds(value)
            except ValueError as error:
                raise source.error(keys, f"{shorten(repr(value))}: {error}") from None


def _check_folder(config: Config, source: ConfigSource) -> None:
    """Checks that the run's folder has a name that a file system takes, below `exp_dir`."""
    manager = config.exp_manager
    places: list[tuple[Keys, str | int | None]] = [
        (("exp_manager", "exp_dir"), manager.exp_dir),
        (("exp_manager", "name") if manager.name else ("name",), manager.name or config.name),
        (("exp_manager", "version"), manager.version),
    ]
    for keys, value in places:
        if value in (None, MISSING):
            continue
        place = str(value)
        if hide_secrets(place) != place:
            raise source.error(keys, "has credentials in it; give them in the environment")
        parts = PurePath(place).parts
        if _CONTROL.search(place):
            raise source.error(keys, "has a control character; use letters, digits, - and _")
        if any(len(part.encode()) > _NAME_BYTES for part in parts) or len(place.encode()) > _PATH_BYTES:
            raise source.error(keys, f"a folder's name has at most {_NAME_BYTES} bytes; shorten it")
        if keys[-1] != "exp_dir" and (not parts or ".." in parts or parts[0] == "/"):
            raise source.error(
                keys, f"'{place}' is not a folder below exp_manager.exp_dir; use letters, digits, - and _"
            )
