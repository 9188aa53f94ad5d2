"""Arguments that several verbs share."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from jasper_tf.errors import UserError
from jasper_tf.io.remote import is_remote


def add_model_argument(parser: argparse.ArgumentParser) -> None:
    """Adds `--model`: what `load_recognizer` takes."""
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="a run's folder, a model.keras, a .nemo, or a folder, .tflite or .onnx written by export.py",
    )


def add_one_model(parser: argparse.ArgumentParser, metavar: str, help: str) -> None:
    """Adds a model as a positional argument, or behind `--model`; `one_model` gives it."""
    parser.add_argument("model", nargs="?", metavar=metavar, help=help)
    parser.add_argument("--model", dest="model_option", metavar=metavar, help="the same")


def one_model(arguments: argparse.Namespace) -> str:
    """The model of `add_one_model`.

    Raises:
        UserError: there is none, or two.
    """
    given = [one for one in (arguments.model, arguments.model_option) if one is not None]
    if len(given) != 1:
        raise UserError("a model is given twice; name one" if given else "no model; name one")
    return given[0]


def local_path(value: str) -> Path:
    """The type of an argument whose file or folder is on this machine; plain `Path` makes a folder `s3:` of a URL.

    Raises:
        argparse.ArgumentTypeError: it is in object storage.
    """
    if is_remote(value):
        raise argparse.ArgumentTypeError(
            f"{value}: is in object storage, and this one must be on this machine; copy it with the storage's own tool"
        )
    return Path(value)


def make_folder(option: str, folder: str | Path) -> None:
    """Makes a folder for output files; object storage needs none.

    Raises:
        UserError: it cannot be made.
    """
    if is_remote(os.fspath(folder)):
        return
    try:
        os.makedirs(folder, exist_ok=True)
    except OSError as error:
        raise UserError(f"{option} {folder}: cannot be made ({error.strerror or error}); name another") from None


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
