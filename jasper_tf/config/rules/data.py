"""Rules of `train_ds`, `validation_ds` and `test_ds`."""

from __future__ import annotations

import re

from jasper_tf.config.rules.augmentor import check_augmentor
from jasper_tf.config.section import MISSING
from jasper_tf.config.sections.augment_schema import AugmentorConfig
from jasper_tf.config.sections.data_schema import DatasetConfig
from jasper_tf.config.sections.model_schema import ModelConfig
from jasper_tf.config.source import ConfigSource, Keys
from jasper_tf.errors import shorten

_SET_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")


def check_data(model: ModelConfig, source: ConfigSource) -> None:
    """Checks durations, sample rates, sets and augmentation of every section. Raises UserError."""
    for name, dataset in model.datasets():
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
        if isinstance(dataset.augmentor, AugmentorConfig):
            check_augmentor(dataset.augmentor, model.sample_rate, (*at, "augmentor"), source)


def _check_sets(dataset: DatasetConfig, at: Keys, source: ConfigSource) -> None:
    """Named validation sets, weighted training sets, tarred ones."""
    manifests, training = dataset.manifest_filepath, at[-1] == "train_ds"
    if isinstance(manifests, dict):
        here = (*at, "manifest_filepath")
        if training:
            raise source.error(here, "a mapping names validation sets; list several training sets in input_cfg")
        if not manifests:
            raise source.error(here, "an empty mapping; name at least one set, or null")
        for name, paths in manifests.items():
            if not isinstance(name, str) or not _SET_NAME.fullmatch(name) or name.split("_")[-1] == "ema":
                reason = "cannot name a set; use letters, digits, '-', '.' and '_', no ..._ema"
                raise source.error(here, f"{shorten(str(name))!r} {reason}")
            if not isinstance(paths, str) and not (isinstance(paths, list) and all(isinstance(p, str) for p in paths)):
                raise source.error((*here, name), "expected a path or a list of paths")
    if dataset.input_cfg in (None, MISSING):
        if dataset.input_cfg is None and dataset.reweight_temperature is not None:
            raise source.error((*at, "reweight_temperature"), "weighs the sets of input_cfg, which is missing")
    elif not training or manifests is not None or not dataset.input_cfg:
        reason = "an empty list" if training and manifests is None else "belongs to train_ds, without manifest_filepath"
        raise source.error((*at, "input_cfg"), f"{reason}; name the sets there, or leave it out")
    elif len({entry.weight is None for entry in dataset.input_cfg}) > 1:
        raise source.error((*at, "input_cfg"), "some sets have a weight and some have none; give it to all or to none")
    if dataset.is_tarred and not dataset.tarred_audio_filepaths:
        raise source.error((*at, "tarred_audio_filepaths"), "this key is missing; is_tarred: true needs it")
