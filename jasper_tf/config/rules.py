"""What one value of a configuration says about another: inherited values and cross checks."""

from __future__ import annotations

import re
from pathlib import PurePath
from typing import Any

from jasper_tf.config.duration import seconds
from jasper_tf.config.model_schema import (
    MOST_WINDOW_SAMPLES,
    DatasetConfig,
    FixedNormalization,
    JasperBlockConfig,
    ModelConfig,
)
from jasper_tf.config.optim_schema import METRICS, OPTIMIZERS, PLATEAU, REQUIRED, SCHEDULES, OptimConfig, SchedConfig
from jasper_tf.config.schema import Config
from jasper_tf.config.section import MISSING
from jasper_tf.config.source import ConfigSource, Keys, nearest
from jasper_tf.errors import shorten
from jasper_tf.inference.pretrained_config import INIT_KEYS

_DATASETS = ("train_ds", "validation_ds", "test_ds")
_MONITOR = ("exp_manager", "checkpoint_callback_params", "monitor")
_EARLY = ("exp_manager", "early_stopping_callback_params", "monitor")
_CONTROL = re.compile("[\\x00-\\x1f\\x7f\\ud800-\\udfff]")
_NAME_BYTES, _PATH_BYTES = 255, 1024  # Linux: NAME_MAX; PATH_MAX is 4096 for all of a path
_SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_MOST_CONVOLUTIONS, _MOST_SUBSAMPLING = 1000, 1024
_PRECISION = {"32": 32, "32-true": 32, 16: "16-mixed", "16": "16-mixed", "bf16": "bf16-mixed"}


def inherit(values: dict[Any, Any]) -> None:
    """Where a section leaves it out, `sample_rate` is the model's."""
    model = values.get("model")
    if not isinstance(model, dict):
        return
    for name in (*_DATASETS, "preprocessor"):
        if isinstance(model.get(name), dict) and "sample_rate" in model:
            model[name].setdefault("sample_rate", model["sample_rate"])


def complete(config: Config, source: ConfigSource) -> None:
    """Checks values against each other, then fills in those that follow from others."""
    model, trainer = config.model, config.trainer
    _check_labels(model, source)
    _check_data(model, source)
    _check_sizes(model, source)
    _check_interctc(model, source)
    if model.freeze and not any(getattr(config, key) for key in INIT_KEYS):
        keys = " or ".join(INIT_KEYS)
        raise source.error(("model", "freeze"), f"would keep new, random weights; name what to start from with {keys}")
    _complete_optim(config, source)
    _check_durations(config, source)
    if isinstance(trainer.devices, list) and len(set(trainer.devices)) != max(1, len(trainer.devices)):
        raise source.error(("trainer", "devices"), "expected different devices, at least one")

    # NeMo: ConvASREncoder keeps a block's residual_mode for the later blocks that name none.
    mode = model.encoder.residual_mode
    blocks = [] if model.encoder.jasper == MISSING else model.encoder.jasper
    for block in blocks:
        mode = block.residual_mode = block.residual_mode or mode
    if model.decoder.feat_in == -1 and blocks:
        model.decoder.feat_in = blocks[-1].filters
    if model.decoder.num_classes == -1 and model.labels != MISSING:
        model.decoder.num_classes = len(model.labels)
    if trainer.ema is not None and not trainer.ema.enable:
        trainer.ema = None
    _check_monitor(config, config.exp_manager.checkpoint_callback_params.monitor, _MONITOR, source)
    if config.exp_manager.create_early_stopping_callback:
        _check_monitor(config, config.exp_manager.early_stopping_callback_params.monitor, _EARLY, source)
    _check_place(config, source)
    if config.exp_manager.name is None:
        config.exp_manager.name = config.name
    if trainer.max_epochs == -1:
        trainer.max_epochs = None
    if trainer.gradient_clip_val == 0:
        trainer.gradient_clip_val = None
    # One spelling for each precision; a dict's values are no Literal to mypy.
    trainer.precision = _PRECISION.get(trainer.precision, trainer.precision)  # type: ignore[assignment]  # a table of plain texts


def _check_place(config: Config, source: ConfigSource) -> None:
    """The run's folder has a name that a file system takes, below `exp_dir`."""
    e = config.exp_manager
    places: list[tuple[Keys, str | int | None]] = [
        (("exp_manager", "exp_dir"), e.exp_dir),
        (("exp_manager", "name") if e.name else ("name",), e.name or config.name),
        (("exp_manager", "version"), e.version),
    ]
    for keys, value in places:
        if value in (None, MISSING):
            continue
        place = str(value)
        parts = PurePath(place).parts
        if _CONTROL.search(place):
            raise source.error(keys, "has a control character; use letters, digits, - and _")
        if any(len(part.encode()) > _NAME_BYTES for part in parts) or len(place.encode()) > _PATH_BYTES:
            raise source.error(keys, f"a folder's name has at most {_NAME_BYTES} bytes; shorten it")
        if keys[-1] != "exp_dir" and (not parts or ".." in parts or parts[0] == "/"):
            raise source.error(keys, f"'{place}' is no folder below exp_manager.exp_dir; use letters, digits, - and _")


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


def _datasets(model: ModelConfig) -> list[tuple[str, DatasetConfig]]:
    return [(name, dataset) for name in _DATASETS if (dataset := getattr(model, name)) not in (None, MISSING)]


def _check_labels(model: ModelConfig, source: ConfigSource) -> None:
    labels = model.labels
    if labels == MISSING:
        return
    if not labels:
        raise source.error(("model", "labels"), "no labels; list the characters that the model may write")
    first: dict[str, int] = {}
    for i, label in enumerate(labels):
        at = ("model", "labels", str(i))
        if len(label) != 1 and label != MISSING:
            raise source.error(at, f"'{shorten(label)}' is not a single character")
        if first.setdefault(label, i) != i:
            raise source.error(at, f"the label '{label}' is already entry {first[label]}; keep one")
    copies: list[tuple[Keys, list[str] | None]] = [(("model", n, "labels"), d.labels) for n, d in _datasets(model)]
    for keys, copy in [*copies, (("model", "decoder", "vocabulary"), model.decoder.vocabulary)]:
        if copy not in (None, MISSING, labels):
            raise source.error(keys, "differs from model.labels; leave the key out or repeat them in the same order")
    if model.decoder.num_classes not in (-1, MISSING, len(labels)):
        raise source.error(
            ("model", "decoder", "num_classes"),
            f"{model.decoder.num_classes}, but model.labels has {len(labels)} (the blank is not counted)",
        )


def _check_data(model: ModelConfig, source: ConfigSource) -> None:
    for name, dataset in _datasets(model):
        at = ("model", name)
        if model.sample_rate != MISSING and dataset.sample_rate not in (MISSING, model.sample_rate):
            message = f"{dataset.sample_rate} Hz, but model.sample_rate is {model.sample_rate}"
            raise source.error((*at, "sample_rate"), message)
        shortest, longest = dataset.min_duration, dataset.max_duration
        if isinstance(shortest, float) and isinstance(longest, float) and shortest >= longest:
            raise source.error((*at, "max_duration"), f"{longest} s is not above min_duration, {shortest} s")
        if dataset.manifest_filepath == []:
            raise source.error((*at, "manifest_filepath"), "an empty list; name at least one manifest, or null")
        _check_sets(dataset, at, source)
        if isinstance(dataset.augmentor, dict) and isinstance(model.sample_rate, int):
            _check_augmentor(dataset.augmentor, model.sample_rate, (*at, "augmentor"), source)


def _check_augmentor(spec: dict[str, Any], sample_rate: int, at: Keys, source: ConfigSource) -> None:
    """Refuses what training would; the manifests of noises are read there."""
    # Here, for the perturbations bring soxr and soundfile, which most commands do without.
    from jasper_tf.data.augment.augmentor import read_perturbations
    from jasper_tf.data.augment.perturbation import AugmentorError

    def given(values: Any) -> Any:
        return {k: given(v) for k, v in values.items() if v != MISSING} if isinstance(values, dict) else values

    try:
        read_perturbations(given(spec), sample_rate)
    except AugmentorError as error:
        reason = error.reason
        if error.known:
            near = nearest(str(error.keys[-1]), error.known)
            reason += f"; nearest known key: {'.'.join((*at, *error.keys[:-1], near))}"
        raise source.error((*at, *error.keys), reason) from None


def _check_sets(dataset: DatasetConfig, at: Keys, source: ConfigSource) -> None:
    """Named validation sets, weighted training sets, tarred ones."""
    manifests, training = dataset.manifest_filepath, at[-1] == "train_ds"
    if isinstance(manifests, dict):
        here = (*at, "manifest_filepath")
        if training:
            raise source.error(here, "a mapping names validation sets; several training sets stand in input_cfg")
        if not manifests:
            raise source.error(here, "an empty mapping; name at least one set, or null")
        for name, paths in manifests.items():
            if not isinstance(name, str) or not _SET_NAME.fullmatch(name) or name.split("_")[-1] == "ema":
                reason = "cannot name a set; use letters, digits, '-', '.' and '_', no ..._ema"
                raise source.error(here, f"{shorten(str(name))!r} {reason}")
            if not isinstance(paths, str) and not (isinstance(paths, list) and all(isinstance(p, str) for p in paths)):
                raise source.error((*here, name), "expected a path or a list of paths")
    if dataset.input_cfg is None:
        if dataset.reweight_temperature is not None:
            raise source.error((*at, "reweight_temperature"), "weighs the sets of input_cfg, which is missing")
    elif not training or manifests is not None or not dataset.input_cfg:
        reason = "an empty list" if training and manifests is None else "stands in train_ds, without manifest_filepath"
        raise source.error((*at, "input_cfg"), f"{reason}; name the sets there, or leave it out")
    elif len({entry.weight is None for entry in dataset.input_cfg}) > 1:
        raise source.error((*at, "input_cfg"), "some sets have a weight and some have none; give it to all or to none")
    if dataset.is_tarred and not dataset.tarred_audio_filepaths:
        raise source.error((*at, "tarred_audio_filepaths"), "this key is missing; is_tarred: true needs it")


def _check_sizes(model: ModelConfig, source: ConfigSource) -> None:
    front, encoder, decoder = model.preprocessor, model.encoder, model.decoder
    at = ("model", "preprocessor")
    if MISSING not in (front.sample_rate, model.sample_rate) and front.sample_rate != model.sample_rate:
        message = f"{front.sample_rate} Hz, but model.sample_rate is {model.sample_rate}; leave one of them out"
        raise source.error((*at, "sample_rate"), message)
    for key in ("window_size", "window_stride"):
        length_s = getattr(front, key)
        if MISSING not in (length_s, front.sample_rate):
            samples = int(length_s * front.sample_rate)
            if not 1 <= samples <= MOST_WINDOW_SAMPLES:
                message = f"{length_s} s are {samples:,} samples; use at least 1 and at most {MOST_WINDOW_SAMPLES:,}"
                raise source.error((*at, key), message)
    if MISSING not in (front.window_size, front.sample_rate, front.n_fft) and front.n_fft is not None:
        window = int(front.window_size * front.sample_rate)
        if front.n_fft < window:
            raise source.error((*at, "n_fft"), f"{front.n_fft} is shorter than the window of {window} samples")
    if MISSING not in (front.sample_rate, front.lowfreq, front.highfreq):
        top = front.highfreq if front.highfreq is not None else front.sample_rate / 2
        key = "highfreq" if front.highfreq is not None else "lowfreq"
        if top > front.sample_rate / 2 or front.lowfreq >= top:
            message = f"the band from {front.lowfreq} Hz to {top} Hz is not within 0 and {front.sample_rate / 2} Hz"
            raise source.error((*at, key), message)
    width = None
    if MISSING not in (front.features, front.frame_splicing):
        width = front.features * front.frame_splicing
        if MISSING not in (encoder.feat_in, encoder.frame_splicing):
            found = encoder.feat_in * encoder.frame_splicing
            if found != width:
                message = f"{found}, but the preprocessor makes {width} (features times frame_splicing)"
                raise source.error(("model", "encoder", "feat_in"), message)
    if isinstance(front.normalize, FixedNormalization):
        for key in ("fixed_mean", "fixed_std"):
            count = len(getattr(front.normalize, key))
            if width not in (None, count):
                raise source.error((*at, "normalize", key), f"{count} numbers for {width} features")
    if encoder.jasper == MISSING:
        return
    if not encoder.jasper:
        raise source.error(("model", "encoder", "jasper"), "no blocks; give at least one")
    for i, block in enumerate(encoder.jasper):
        if MISSING not in (block.stride, block.dilation) and block.stride[0] != 1 and block.dilation[0] != 1:
            keys = ("model", "encoder", "jasper", str(i), "dilation")
            raise source.error(keys, "stride and dilation cannot both be above 1")
    _check_depth(encoder.jasper, source)
    last = encoder.jasper[-1].filters
    if MISSING not in (last, decoder.feat_in) and decoder.feat_in not in (-1, last):
        message = f"{decoder.feat_in}, but the last block has {last} filters"
        raise source.error(("model", "decoder", "feat_in"), message)


def _check_depth(blocks: list[JasperBlockConfig], source: ConfigSource) -> None:
    """Refuses a network that would take hours to build, or of whose frames nothing would be left."""
    convolutions, subsampling, panes = 0, 1, 0
    for i, block in enumerate(blocks):
        at = ("model", "encoder", "jasper", str(i))
        flags = (block.separable, block.residual, block.residual_dense, block.stride_last)
        if MISSING in (block.repeat, block.stride, *block.stride, *flags):
            return
        panes = panes + 1 if block.residual_dense else 1
        convolutions += block.repeat * (1 + block.separable) + block.residual * panes
        if convolutions > _MOST_CONVOLUTIONS:
            raise source.error((*at, "repeat"), f"more than {_MOST_CONVOLUTIONS} convolutions so far; use fewer blocks")
        subsampling *= block.stride[0] ** (1 if block.stride_last else block.repeat)
        if subsampling > _MOST_SUBSAMPLING:
            raise source.error(
                (*at, "stride"), f"one frame of {subsampling:,} is left here; use at most {_MOST_SUBSAMPLING:,}"
            )


def _check_interctc(model: ModelConfig, source: ConfigSource) -> None:
    if model.interctc in (None, MISSING):
        return
    weights, layers = model.interctc.loss_weights, model.interctc.apply_at_layers
    if MISSING in (weights, layers, *weights, *layers):
        return
    at: Keys = ("model", "interctc", "loss_weights")
    if len(weights) != len(layers):
        raise source.error(at, f"{len(weights)} of them, but apply_at_layers names {len(layers)} blocks; give one each")
    if sum(weights) >= 1:
        raise source.error(at, f"their sum is {sum(weights):g}; what is left to 1 is the last block's: stay below 1")
    if model.encoder.jasper == MISSING:
        return
    *before, last = (block.filters for block in model.encoder.jasper)
    for i, layer in enumerate(layers):
        at = ("model", "interctc", "apply_at_layers", str(i))
        if layer >= len(before):
            raise source.error(
                at, f"block {layer} is not before the last; there are {len(before) + 1} blocks, counted from 0"
            )
        if layer in layers[:i]:
            raise source.error(at, f"block {layer} is there already")
        if MISSING not in (before[layer], last) and before[layer] != last:
            reason = (
                f"block {layer} has {before[layer]} filters, the last {last}; the decoder reads both: make them equal"
            )
            raise source.error(at, reason)


def _complete_optim(config: Config, source: ConfigSource) -> None:
    """Refuses the keys that the chosen optimizer and schedule do not know, and sets what null stands for."""
    optim = config.model.optim
    at: Keys = ("model", "optim")
    _complete_keys(optim, OPTIMIZERS, at, source)
    if optim.eps not in (None, MISSING) and isinstance(optim.eps, tuple) != (optim.name == "adafactor"):
        numbers = "two numbers: for squared gradients, for weights" if optim.name == "adafactor" else "one number"
        raise source.error((*at, "eps"), f"{optim.name} takes {numbers}")
    sched = optim.sched
    if sched is None:
        return
    at += ("sched",)
    _complete_keys(sched, SCHEDULES, at, source)
    for kind in ("warmup", "constant", "hold"):
        if getattr(sched, f"{kind}_steps") is not None and getattr(sched, f"{kind}_ratio") is not None:
            raise source.error((*at, f"{kind}_ratio"), f"{kind}_steps is given too; give one of the two")
    if not sched.reduce_on_plateau:
        given = next((key for key in PLATEAU if getattr(sched, key) is not None), None)
        if given:
            raise source.error((*at, given), "means something only with reduce_on_plateau: true")
        return
    if config.model.validation_ds is None:
        raise source.error((*at, "reduce_on_plateau"), "needs validations; give model.validation_ds")
    for key, default in PLATEAU.items():
        if getattr(sched, key) is None:
            setattr(sched, key, default)
    if sched.factor == 0:
        raise source.error((*at, "factor"), "0.0 would end the learning; use a number, more than 0 and less than 1")
    sched.monitor = sched.monitor or "val_loss"
    _check_monitor(config, sched.monitor, (*at, "monitor"), source)


def _complete_keys(
    section: OptimConfig | SchedConfig, tables: dict[str, dict[str, Any]], at: Keys, source: ConfigSource
) -> None:
    if section.name == MISSING:
        return
    known = tables[section.name]
    for key in dict.fromkeys(key for table in tables.values() for key in table):
        if key not in known and getattr(section, key) is not None:
            raise source.error((*at, key), f"{section.name} does not know this key; it knows {', '.join(known)}")
        if key in known and getattr(section, key) is None:
            if known[key] is REQUIRED:
                raise source.error((*at, key), f"this key is missing; {section.name} needs it")
            setattr(section, key, known[key])


def _check_monitor(config: Config, monitor: str, at: Keys, source: ConfigSource) -> None:
    validation = config.model.validation_ds
    sets = validation.manifest_filepath if isinstance(validation, DatasetConfig) else None
    names = sets if isinstance(sets, dict) else ()
    kinds = [f"val_{kind}" for kind in ("wer", "cer", "loss")]
    of_sets = {f"{kind}_{name}{ema}": f"{kind}{ema}" for name in names for ema in ("", "_ema") for kind in kinds}
    known = (*METRICS, *of_sets)
    if monitor not in (*known, MISSING):
        raise source.error(at, f"expected one of {', '.join(known)}, got the text '{shorten(monitor)}'")
    if monitor in of_sets and config.trainer.overfit_batches not in (0, MISSING):
        of_all = of_sets[monitor]
        raise source.error(
            at, f"{monitor} is of a named set, but trainer.overfit_batches validates on training batches; use {of_all}"
        )
    if monitor.endswith("_ema") and (config.trainer.ema is None or not config.trainer.ema.enable):
        raise source.error(at, f"{monitor} is of averaged weights; switch them on with trainer.ema={{decay: 0.999}}")
