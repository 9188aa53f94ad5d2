"""`jasper-tf train`: trains a model from a configuration."""

from __future__ import annotations

import argparse
import os
import sys

from jasper_tf.commands._program import program_name
from jasper_tf.errors import UserError
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.training.requirements import require_training_inputs

HELP = "train a CTC speech recognizer from a YAML configuration, or resume its run"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("config", help="a file in NeMo's layout, or the name of a packaged one, such as an4.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as trainer.max_epochs=10")


def run(arguments: argparse.Namespace) -> int:
    """Trains; 0 at the end of the run or of its time, 143 after SIGTERM, 130 after Ctrl-C."""
    resumes = "the same command resumes if exp_manager.resume_if_exists is true"
    try:
        cfg = load_config(arguments.config, arguments.overrides)
        require_training_inputs(cfg)
        if cfg.trainer.fast_dev_run:
            resumes = "nothing was kept"
        # After the configuration: an error in it shows without waiting for TensorFlow.
        from jasper_tf.commands._train import train
        from jasper_tf.training.callbacks.interruption import TrainingInterruptedError
        from jasper_tf.training.distributed.workers import WorkerLostError

        try:
            folder = train(cfg)
        except TrainingInterruptedError as stop:
            return stop.status
        except WorkerLostError as lost:
            if not cfg.exp_manager.resume_if_exists:
                raise UserError(f"{lost}; set exp_manager.resume_if_exists=true to resume by itself") from lost
            print(f"{lost}; restarting from the last checkpoint when it is back", flush=True)
            os.execv(sys.executable, sys.orig_argv)  # TensorFlow joins a cluster once in a process
    except KeyboardInterrupt:
        print(f"\nstopped; {resumes}", file=sys.stderr)
        return 130
    if not cfg.trainer.fast_dev_run:
        print(f"next: {program_name()} evaluate --model {folder} --manifest MANIFEST")
    return 0
