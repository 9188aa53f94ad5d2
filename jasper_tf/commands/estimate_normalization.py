"""`jasper-tf estimate-normalization`: counts the statistics that a streaming model normalizes its features with."""

from __future__ import annotations

import argparse
import sys

from jasper_tf.data.manifest.sections import require_manifests
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, validate_outputs

HELP = "mean and deviation of a training set's features: the YAML of preprocessor.normalize for a streaming model"
INTERMIXED = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a configuration; its preprocessor, model.train_ds and labels are used")
    parser.add_argument("--output", metavar="FILE", help="write the lines to this file too")
    add_overwrite_argument(parser)
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="such as model.train_ds.manifest_filepath=train.json"
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints the lines to put under `model.preprocessor`, and on stderr what was counted."""
    output = arguments.output
    if output is not None:
        validate_outputs([Output("--output", output, "config")], [arguments.config], arguments.overwrite)
    cfg = load_config(arguments.config, arguments.overrides)
    cfg.require(cfg.model.labels_key, "model.preprocessor", "model.encoder", "model.decoder")
    require_manifests(cfg, ["train_ds"])

    from jasper_tf.training.normalization_statistics import count_normalization

    found = count_normalization(cfg)
    if output is not None:
        with atomic_write(output) as file:
            file.write(found.as_yaml())
    print(f"{found.summary}; {found.frames:,} frames", file=sys.stderr)
    print(found.as_yaml(), end="")
    return 0
