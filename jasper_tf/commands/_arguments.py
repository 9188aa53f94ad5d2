"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
from collections.abc import Sequence


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--model`: what `load_recognizer` takes."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="a run's folder, a model.keras, a .nemo, or a folder or .tflite written by export.py",
    )


def split_formats(value: str, known: Sequence[str]) -> tuple[str, ...]:
    """The formats of a list with commas, each once.

    Raises:
        argparse.ArgumentTypeError: one is not known.
    """
    forms = tuple(dict.fromkeys(form.strip() for form in value.split(",")))
    for form in forms:
        if form not in known:
            raise argparse.ArgumentTypeError(f"{form!r} is none of {', '.join(known)}")
    return forms
