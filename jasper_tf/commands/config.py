"""`jasper-tf config`: the packaged configurations, and what is in one."""

from __future__ import annotations

import argparse

import yaml

from jasper_tf.config.packaged import SEARCH, packaged_configs, summary
from jasper_tf.config.sections.tune_schema import load_tune_config
from jasper_tf.config.source import ConfigSource
from jasper_tf.errors import UserError
from jasper_tf.inference.pretrained_config import load_config

HELP = "list the packaged configurations; validate, show or measure a configuration"

_GIB = 2**30
_LONGEST_S = 16.7
"""Longest utterance of LibriSpeech that NeMo's configurations train on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    actions = parser.add_subparsers(dest="action", required=True, metavar="ACTION")
    actions.add_parser("list", help="the packaged configurations, a line each")
    validate = actions.add_parser("validate", help="check every key and value, and name what has no value yet")
    show = actions.add_parser("show", help="print every key with its value, overrides and defaults included, as YAML")
    size = actions.add_parser("size", help="print the blocks, the parameters and the memory that training takes")
    for action in (validate, show, size):
        action.add_argument("file", help="a configuration, or the name of a packaged one, such as quartznet.yaml")
        action.add_argument("overrides", nargs="*", metavar="key=value", help="such as model.train_ds.batch_size=8")
    size.add_argument(
        "--longest-s",
        type=float,
        metavar="S",
        help=f"seconds of the longest utterance (default: model.train_ds.max_duration, or else {_LONGEST_S:g})",
    )


def run(arguments: argparse.Namespace) -> int:
    {"list": _list, "validate": _validate, "show": _show, "size": _size}[arguments.action](arguments)
    return 0


def _list(_: argparse.Namespace) -> None:
    packaged = packaged_configs()
    width = max(map(len, packaged))
    for name, file in packaged.items():
        print(f"{name:<{width}}  {'(for tune) ' if name == SEARCH else ''}{summary(file)}")


def _validate(arguments: argparse.Namespace) -> None:
    file, overrides = arguments.file, arguments.overrides
    if "space" in ConfigSource.from_file(file).tree:  # a search
        tune = load_tune_config(file, overrides)
        print(f"{tune.source.name}: a valid search of {len(tune.space)} keys, for tune")
        file, overrides = tune.config, tune.overrides
    cfg = load_config(file, overrides)
    print(f"{cfg.source}: valid")
    if cfg.ignored:
        print(f"only steer PyTorch, ignored: {', '.join(cfg.ignored)}")
    if missing := cfg.open_keys():
        print(f"no value yet: {', '.join(missing)}")


def _show(arguments: argparse.Namespace) -> None:
    cfg = load_config(arguments.file, arguments.overrides)
    print(yaml.safe_dump(cfg.to_dict(), sort_keys=False, allow_unicode=True), end="")


def _size(arguments: argparse.Namespace) -> None:
    longest_s = arguments.longest_s
    if longest_s is not None and not 0 < longest_s <= 7200:
        raise UserError(f"--longest-s {longest_s:g}: must be more than 0 and at most 7200 seconds")
    cfg = load_config(arguments.file, arguments.overrides)
    cfg.require(cfg.model.labels_key, "model.preprocessor", "model.encoder", "model.decoder")

    # After the configuration: an error in it shows without waiting for TensorFlow.
    from jasper_tf.model.jasper_ctc import build_model
    from jasper_tf.model.memory_estimate import estimate_memory, machine_memory, require_memory
    from jasper_tf.model.overview import model_overview

    require_memory(cfg)
    print(model_overview(build_model(cfg)))
    dataset = cfg.model.train_ds
    longest_s = longest_s or (dataset.max_duration if dataset else None) or _LONGEST_S
    rows = dataset.batch_size if dataset else 1
    if dataset and dataset.batch_duration is not None:
        rows = max(1, int(dataset.batch_duration / longest_s))
    needed = sum(estimate_memory(cfg, rows, round(longest_s * cfg.model.sample_rate)).values())
    print(
        f"training with batches of {rows} x {longest_s:g} s takes about {needed / _GIB:.1f} GiB on each device "
        f"(this machine has {machine_memory() / _GIB:.1f} GiB of main memory)"
    )
