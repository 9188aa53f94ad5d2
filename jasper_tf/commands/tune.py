"""`python -m jasper_tf tune`: searches for hyper-parameters."""

from __future__ import annotations

import argparse
import sys

from jasper_tf.config.sections.tune_schema import load_tune_config
from jasper_tf.data.manifest.sections import require_manifests
from jasper_tf.errors import UserError
from jasper_tf.inference.pretrained_config import load_config

HELP = "search for hyper-parameters with keras-tuner; every trial is an ordinary run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", help="what to search, or the name of a packaged file: tune.yaml")
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="key=value",
        help="changes the configuration of every trial, as train.py; tune.KEY=value changes the search itself",
    )


def run(arguments: argparse.Namespace) -> int:
    """Runs or resumes the search and prints its trials; returns 1 if none was completed."""
    tune = load_tune_config(arguments.file, arguments.overrides)
    require_manifests(load_config(tune.config, tune.overrides), ("train_ds", "validation_ds"))

    # After the inputs: an error in them shows without waiting for TensorFlow.
    from jasper_tf.training.callbacks.interruption import TrainingInterruptedError
    from jasper_tf.tuning.search import Search

    search = Search(tune)
    try:
        results = search.search()
    except UserError:
        _show(search.results())
        raise
    except (KeyboardInterrupt, TrainingInterruptedError) as stop:
        so_far = search.results()
        if so_far.outcomes:
            so_far.write()
        _show(so_far)
        print("\nstopped; the same command resumes", file=sys.stderr)
        return getattr(stop, "status", 130)
    if search.role == "worker":
        print(f"no more trials; the chief has the results, {search.output}/results.csv")
        return 0
    _show(results)
    if results.best is None:
        print("error: no trial was completed; see the reasons in the table", file=sys.stderr)
        return 1
    print(f"\nthe best configuration in full:\n  {results.command(results.best)}")
    return 0


def _show(results) -> None:
    if results.outcomes:
        print(f"\n{results.table()}")
    if (results.folder / "results.csv").exists():
        print(f"\n{results.folder}/results.csv; tensorboard --logdir {results.folder}")
