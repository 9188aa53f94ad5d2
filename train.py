"""Trains a speech recognizer: python train.py configs/an4.yaml [key=value ...]"""

import argparse
import os
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from jasper_tf.errors import UserError
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.io.log import log_to_stderr
from jasper_tf.io.process_exit import exit_with


def main() -> int:
    parser = argparse.ArgumentParser(description="Train a CTC speech recognizer from a YAML configuration.")
    parser.add_argument("config", help="a file in NeMo's layout, such as configs/an4.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="such as trainer.max_epochs=10")
    arguments = parser.parse_args()
    log_to_stderr()
    try:
        cfg = load_config(arguments.config, arguments.overrides)
        # After the configuration: an error in it shows without waiting for TensorFlow.
        from jasper_tf.commands._train import train
        from jasper_tf.training.callbacks.interruption import TrainingInterruptedError
        from jasper_tf.training.distributed.workers import WorkerLostError

        try:
            run = train(cfg)
        except TrainingInterruptedError as stop:
            return stop.status
        except WorkerLostError as lost:
            if not cfg.exp_manager.resume_if_exists:
                raise UserError(f"{lost}; set exp_manager.resume_if_exists=true to resume by itself") from lost
            print(f"{lost}; restarting from the last checkpoint when it is back", flush=True)
            os.execv(sys.executable, sys.orig_argv)  # TensorFlow joins a cluster once in a process
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        print("\nstopped; the same command resumes if exp_manager.resume_if_exists is true", file=sys.stderr)
        return 130
    if not cfg.trainer.fast_dev_run:
        print(f"next: python -m jasper_tf evaluate --model {run} --manifest MANIFEST")
    return 0


if __name__ == "__main__":
    exit_with(main)
