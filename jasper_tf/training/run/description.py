"""Describes a run in TensorBoard: hyper-parameters, configuration, model."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping
from typing import Any

import keras
import tensorflow as tf
import yaml
from tensorboard.plugins.hparams import api as hp
from tensorboard.plugins.hparams import api_pb2, plugin_data_pb2, summary

from jasper_tf.config import Config
from jasper_tf.config.flatten import flatten
from jasper_tf.model.overview import model_overview
from jasper_tf.training.run.log import RunLog
from jasper_tf.training.run.training_state import TrainingState

# Keys to compare runs by; of `trainer`, those that change the result or the speed.
_COMPARED = ("model.optim.", "model.train_ds.augmentor.", "model.spec_augment.", "trainer.")
_COMPARED_KEYS = ("seed", "model.train_ds.batch_size")
_NOT_COMPARED = (
    "trainer.accelerator",
    "trainer.enable_checkpointing",
    "trainer.log_every_n_steps",
    "trainer.check_val_every_n_epoch",
)
_SHOWN = ("optim.lr", "optim.weight_decay", "seed", "train_ds.batch_size", "trainer.max_epochs")
_METRICS = [
    hp.Metric(f"validation/{kind}{name}", display_name=f"{kind}{name}".replace("_", " "))
    for kind in ("best_", "")
    for name in ("wer", "cer", "loss")
]


class RunDescription(keras.callbacks.Callback):
    """Writes the HPARAMS page (hyper-parameters with the newest and the best validation) and the texts `run/...`.

    Args:
        cfg: the resolved configuration.
        name: of the run, which has a row on the page.
        log: of the run; its `writer` writes TensorBoard's event file.
        state: of the run.
        total_steps: optimizer steps of the whole run, after which it is marked as finished.
    """

    def __init__(self, cfg: Config, name: str, log: RunLog, state: TrainingState, total_steps: int):
        super().__init__()
        self.cfg = cfg
        self.name = name
        self.log = log
        self.state = state
        self.total_steps = total_steps

    def on_train_begin(self, logs=None):
        values = hyper_parameters(self.cfg)
        values["parameters"] = sum(math.prod(v.shape) for v in self.model.trainable_variables)
        with self.log.writer.as_default(step=0):
            tf.summary.experimental.write_raw_pb(_columns(values).SerializeToString())
            hp.hparams(values, trial_id=self.name)
            if self.state.step == 0:
                layout: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "default_flow_style": None}
                text = yaml.safe_dump(self.cfg.to_dict(), width=110, **layout)
                tf.summary.text("run/configuration", f"```\n{text}```")
                tf.summary.text("run/model", model_overview(self.model))
        self.log.writer.flush()

    def on_train_end(self, logs=None):
        if self.state.step >= self.total_steps:
            end = summary.session_end_pb(api_pb2.STATUS_SUCCESS, time.time())
            with self.log.writer.as_default(step=0):
                tf.summary.experimental.write_raw_pb(end.SerializeToString())
            self.log.writer.flush()


def hyper_parameters(cfg: Config) -> dict[str, Any]:
    """Returns the keys to compare runs by, without the prefix `model.`; lists as text, null left out."""
    found: dict[str, Any] = {}
    for key, value in flatten(cfg.to_dict()).items():
        if (key.startswith(_COMPARED) or key in _COMPARED_KEYS) and key not in _NOT_COMPARED and value is not None:
            plain = value if isinstance(value, (bool, int, float, str)) else str(value)
            found[key.removeprefix("model.")] = plain
    return found


def _columns(values: Mapping[str, Any]):
    """Builds the summary that defines the columns of the page."""
    columns = hp.hparams_config_pb([hp.HParam(key) for key in values], _METRICS)
    plugin = columns.value[0].metadata.plugin_data
    data = plugin_data_pb2.HParamsPluginData.FromString(plugin.content)
    for info in data.experiment.hparam_infos:
        # The page first shows five: those marked as differing, then in alphabetical order.
        info.differs = info.name in _SHOWN
    plugin.content = data.SerializeToString()
    return columns
