"""The file of a search for hyper-parameters (configs/tune.yaml), as typed dataclasses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from jasper_tf.config.loading import read_section
from jasper_tf.config.packaged import SEARCH
from jasper_tf.config.section import Epochs, Range, Seconds, Section, Seed
from jasper_tf.config.source import ConfigSource
from jasper_tf.errors import UserError
from jasper_tf.io.remote import is_remote

PREFIX = "tune."
Sampling = Literal["linear", "log", "reverse_log"]


@dataclass(kw_only=True)
class FloatRange(Section):
    """Numbers from `min` to `max`, both included.

    Attributes:
        type: names this kind.
        min: the lower end.
        max: the upper end.
        step: only `min + i * step`; with another sampling than linear `min * step**i`.
        sampling: how the range is divided.
    """

    type: Literal["float"]
    min: Annotated[float, Range(-1e300, 1e300)]
    max: Annotated[float, Range(-1e300, 1e300)]
    step: Annotated[float, Range(0, 1e300, without=(0,))] | None = None
    sampling: Sampling = "linear"


@dataclass(kw_only=True)
class IntRange(Section):
    """Whole numbers from `min` to `max`, both included.

    Attributes:
        type: names this kind.
        min: the lower end.
        max: the upper end.
        step: as for `float`.
        sampling: as for `float`.
    """

    type: Literal["int"]
    min: Annotated[int, Range(-(10**12), 10**12)]
    max: Annotated[int, Range(-(10**12), 10**12)]
    step: Annotated[int, Range(1, 10**12)] | None = None
    sampling: Sampling = "linear"


@dataclass(kw_only=True)
class Choice(Section):
    """One of several values.

    Attributes:
        type: names this kind.
        values: two or more, of any type: numbers, strings, lists, null.
    """

    type: Literal["choice"]
    values: list[Any]


Dimension = FloatRange | IntRange | Choice
_KINDS: dict[str, type[FloatRange] | type[IntRange] | type[Choice]] = {
    "float": FloatRange,
    "int": IntRange,
    "choice": Choice,
}


@dataclass(kw_only=True)
class TuneConfig(Section):
    """A search: which configuration, which of its keys, by which algorithm. Names are keras-tuner's.

    Attributes:
        config: the configuration that every trial begins with, relative to the current folder.
        overrides: change it, as on train.py's command line.
        tuner: the algorithm.
        max_trials: for random and bayesian; hyperband's number follows from the next three.
        max_epochs: of a trial, for hyperband of the longest; null leaves it to `config`.
        factor: of hyperband: each round keeps one in so many trials.
        hyperband_iterations: of hyperband: how often all its rounds are run.
        objective: the lowest of a trial's validations counts.
        seed: of the search.
        output: its folder.
        worker_timeout_s: silence after which a worker, or the chief, counts as lost.
        space: keys of the configuration, each with its possible values. A `*` is every entry of a list
            (`model.encoder.jasper.*.dropout`), with the same value in each; of two keys that overlap the later one
            counts.
    """

    config: str
    overrides: list[str] = field(default_factory=list)
    tuner: Literal["random", "bayesian", "hyperband"]
    max_trials: Annotated[int, Range(1, 10**6)] | None = None
    max_epochs: Epochs | None = None
    factor: Annotated[int, Range(2, 1000)] = 3
    hyperband_iterations: Annotated[int, Range(1, 1000)] = 1
    objective: Literal["val_wer", "val_cer", "val_loss", "val_wer_ema", "val_cer_ema", "val_loss_ema"] = "val_wer"
    seed: Seed = 0
    output: str = "runs/tune"
    worker_timeout_s: Seconds = 600.0
    space: dict[str, Any]  # of Dimension, once read
    source: ConfigSource = field(compare=False, repr=False, default_factory=lambda: ConfigSource("search", {}))


def load_tune_config(path: str | Path, assignments: Sequence[str] = ()) -> TuneConfig:
    """Reads and checks the file of a search; what the keys of `space` are is checked by `tuning.search_space`.

    Args:
        path: the YAML file.
        assignments: `key=value`. `tune.KEY=value` changes the search itself; the others are added to `overrides`.

    Raises:
        UserError: one line with file, line and key.
    """
    source = ConfigSource.from_file(path)
    if "model" in source.tree and "space" not in source.tree:
        raise UserError(
            f"{source.name}: a configuration of a training, not the file of a search; a search, such as {SEARCH}, "
            "names it as `config:`"
        )
    own = [a.removeprefix(PREFIX) for a in assignments if a.startswith(PREFIX)]
    for assignment in own:
        if assignment.startswith("space"):
            raise UserError(f"command line: {PREFIX}{assignment}: the space is changed in {path}")
    source.override(own)
    tune = read_section(TuneConfig, source)
    tune.source = source
    if is_remote(tune.output):
        raise source.error(
            ("output",), "is in object storage, where no search is written; name a folder on this machine"
        )
    for entry in tune.overrides:
        if entry.startswith(PREFIX):
            raise source.error(
                ("overrides",), f"'{entry}': a key of the search itself; write it at the top of the file"
            )
    tune.overrides += [a for a in assignments if not a.startswith(PREFIX)]
    if tune.tuner == "hyperband" and tune.max_trials is not None:
        raise source.error(
            ("max_trials",), "hyperband's number of trials follows from max_epochs, factor and hyperband_iterations"
        )
    if tune.tuner == "hyperband" and tune.max_epochs is None:
        raise source.error(("max_epochs",), "hyperband needs the epochs of its longest trial; give a whole number")
    if tune.tuner != "hyperband" and tune.max_trials is None:
        raise source.error(("max_trials",), f"{tune.tuner} needs the number of trials; give a whole number")
    if not tune.space:
        raise source.error(("space",), "no keys to search; give at least one, as model.optim.lr: {type: float, ...}")
    tune.space = {key: _dimension(key, source) for key in tune.space}
    return tune


def _dimension(key: str, source: ConfigSource) -> Dimension:
    at = ("space", key)
    values = source.tree["space"][key]
    kind = _KINDS.get(str(values.get("type"))) if isinstance(values, dict) else None
    if kind is None:
        raise source.error(at, "expected {type: float or int, min: ..., max: ...} or {type: choice, values: [...]}")
    dimension = read_section(kind, source, at)
    if isinstance(dimension, Choice):
        if len(dimension.values) < 2 or any(v in dimension.values[:i] for i, v in enumerate(dimension.values)):
            raise source.error((*at, "values"), "expected at least two values, each once")
        return dimension
    low, high, step = dimension.min, dimension.max, dimension.step
    if low >= high:
        raise source.error((*at, "max"), f"{high} is not above min, {low}: an empty range")
    if dimension.sampling != "linear":
        if low <= 0:
            raise source.error((*at, "min"), f"{low} must be above 0 with sampling {dimension.sampling}")
        if step is not None and step <= 1:
            raise source.error((*at, "step"), f"{step} is a factor with sampling {dimension.sampling}; use more than 1")
    if step is not None and (low + step if dimension.sampling == "linear" else low * step) > high:
        raise source.error((*at, "step"), f"{step} leads from min, {low}, beyond max, {high}: an empty range")
    return dimension
