"""Trains a speech recognizer: python train.py configs/an4.yaml [key=value ...]"""

from jasper_tf.__main__ import run_verb
from jasper_tf.io.process_exit import exit_with


def main(argv: list[str] | None = None) -> int:
    return run_verb("train", argv, "train.py")


if __name__ == "__main__":
    exit_with(main)
