"""Exports a trained model for TensorFlow Serving: python export.py runs/an4 --output serving/an4"""

from jasper_tf.__main__ import run_verb
from jasper_tf.io.process_exit import exit_with


def main(argv: list[str] | None = None) -> int:
    return run_verb("export", argv, "export.py")


if __name__ == "__main__":
    exit_with(main)
