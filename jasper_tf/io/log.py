"""Prints the package's log on stderr."""

from __future__ import annotations

import logging
import sys

from jasper_tf.io.progress import logger


class _StderrHandler(logging.Handler):
    """Writes to the sys.stderr of the moment: a progress bar replaces it while it is drawn."""

    def emit(self, record: logging.LogRecord) -> None:
        print(self.format(record), file=sys.stderr, flush=True)


def log_to_stderr() -> None:
    """Prints what the package logs from INFO on, for command lines; leaves a logger that has handlers as it is."""
    if not logger.handlers:
        logger.addHandler(_StderrHandler())
        logger.setLevel(logging.INFO)
        logger.propagate = False  # absl, which comes with TensorFlow, would print it again
