"""Search space: keys of a configuration and their values."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

import keras_tuner
import numpy as np

from jasper_tf.config.sections.tune_schema import Choice, IntRange, TuneConfig
from jasper_tf.config.source import COMMAND_LINE
from jasper_tf.errors import UserError
from jasper_tf.inference.pretrained_config import load_config

# Keys that the search itself sets in every trial.
_SET_BY_SEARCH = (
    "name",
    "exp_manager.exp_dir",
    "exp_manager.name",
    "exp_manager.version",
    "exp_manager.resume_if_exists",
    "exp_manager.checkpoint_callback_params.monitor",
    "exp_manager.checkpoint_callback_params.mode",
)
_LENGTH = ("trainer.max_epochs", "trainer.max_steps")


class SearchSpace:
    """The space of `tune`, checked against its configuration.

    Each bound and each choice is checked alone in the configuration, so that an invalid key or value is found before
    anything is trained. A combination of values that contradict each other fails its trial only.

    Args:
        tune: the search.

    Attributes:
        base: the configuration with the overrides, without a trial's values.

    Raises:
        UserError: the configuration is wrong; a key of the space is unknown, set twice, or has an invalid value.
    """

    def __init__(self, tune: TuneConfig):
        self.tune = tune
        self.base = load_config(tune.config, [*tune.overrides, *self.monitor()])
        self._keys = {key: self._expanded(key) for key in tune.space}
        given = {o.lstrip("+").partition("=")[0].strip() for o in tune.overrides}
        for key in given & set(self._set_by_search()):
            raise UserError(
                f"override {key}: set by the search for every trial; remove it, and use output for the folder"
            )
        for key, full_keys in self._keys.items():
            for full in full_keys:
                if full in given:
                    raise self._error(key, f"{full} is among the overrides too; remove one of them")
                if full in self._set_by_search():
                    raise self._error(key, f"{full} is set by the search for every trial; remove it")
            for name, value in self._extremes(key):
                self._check(key, full_keys, name, value)

    def monitor(self) -> list[str]:
        """Returns the overrides by which a run keeps its best model by the objective."""
        at = "exp_manager.checkpoint_callback_params"
        return [f"{at}.monitor={self.tune.objective}", f"{at}.mode=min"]

    def hyperparameters(self) -> keras_tuner.HyperParameters:
        """Returns the space for keras-tuner."""
        space = keras_tuner.HyperParameters()
        for key, dimension in self.tune.space.items():
            if isinstance(dimension, Choice):
                # As text: the choices of keras-tuner have one type, and its messages round numbers.
                space.Choice(key, [json.dumps(value) for value in dimension.values])
                continue
            kind = space.Int if isinstance(dimension, IntRange) else space.Float
            kind(key, dimension.min, dimension.max, step=dimension.step, sampling=dimension.sampling)
        return space

    def values(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """Converts the values that keras-tuner chose for a trial; returns them by key of the space.

        Numbers are rounded to six digits in single precision, as in keras-tuner's messages to workers, so that a search
        has the same trials with and without workers.
        """
        values = {}
        for key, dimension in self.tune.space.items():
            if isinstance(dimension, Choice):
                values[key] = json.loads(chosen[key])
            else:
                whole = isinstance(dimension, IntRange)
                values[key] = int(chosen[key]) if whole else float(f"{np.float32(chosen[key]):.6g}")
        return values

    def overrides(self, values: Mapping[str, Any]) -> list[str]:
        """Returns the values of a trial as overrides, after the overrides of all trials."""
        own = {full: value for key, value in values.items() for full in self._keys[key]}
        return [*self.tune.overrides, *(f"{full}={json.dumps(value)}" for full, value in own.items())]

    def command(self, values: Mapping[str, Any], name: str, more: Sequence[str] = ()) -> str:
        """Returns the command for a trial's configuration in full length, as run `name`, with the overrides `more`."""
        arguments = [self.tune.config, *self.overrides(values), *more, f"exp_manager.name={name}"]
        return shlex.join(["python", "-m", "jasper_tf", "train", *arguments])

    def _set_by_search(self) -> tuple[str, ...]:
        return (*_SET_BY_SEARCH, *(_LENGTH if self.tune.max_epochs else ()))

    def _expanded(self, key: str) -> list[str]:
        """Expands `a.*.b` to `a.0.b`, `a.1.b`, ...; a key without `*` is unchanged."""
        found: list[tuple[str, Any]] = [("", self.base.to_dict())]
        for part in key.split("."):
            following: list[tuple[str, Any]] = []
            for done, node in found:
                if part == "*" and not isinstance(node, list):
                    raise self._error(key, f"* stands for entries of a list, but {done or 'the file'} is not a list")
                names = [str(i) for i in range(len(node))] if part == "*" else [part]
                following += [(f"{done}.{name}".lstrip("."), _child(node, name)) for name in names]
            found = following
        return [full for full, _ in found]

    def _extremes(self, key: str) -> list[tuple[str, Any]]:
        dimension = self.tune.space[key]
        if isinstance(dimension, Choice):
            return [(f"values.{i}", value) for i, value in enumerate(dimension.values)]
        return [("min", dimension.min), ("max", dimension.max)]

    def _check(self, key: str, full_keys: list[str], name: str, value: Any) -> None:
        assignments = [f"{full}={json.dumps(value)}" for full in full_keys]
        try:
            load_config(self.tune.config, [*self.tune.overrides, *assignments], cross_check=False)
        except UserError as error:
            message = str(error).removeprefix(f"{COMMAND_LINE}: ")
            at, _, reason = message.partition(": ")
            if at not in full_keys:
                raise self._error(key, message) from None
            inner = () if reason.startswith("unknown key") else name.split(".")
            raise self._error(key, reason, *inner) from None

    def _error(self, key: str, message: str, *inner: str) -> UserError:
        return self.tune.source.error(("space", key, *inner), message)


def _child(node: Any, name: str) -> Any:
    if isinstance(node, list):
        return node[int(name)] if name.isdecimal() and int(name) < len(node) else None
    return node.get(name) if isinstance(node, dict) else None
