"""python -m jasper_tf import-nemo: a NeMo archive to a model and a configuration of this package."""

from __future__ import annotations

import argparse

import numpy as np

from jasper_tf.commands._arguments import add_one_model, local_path, one_model
from jasper_tf.decoding.build_tokenizer import TOKENIZER_FOLDER
from jasper_tf.errors import UserError
from jasper_tf.io.file_access import require_regular_file
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, validate_outputs

HELP = "turn a .nemo archive into model.keras and config.yaml; needs no PyTorch"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_one_model(parser, "MODEL.nemo", "a Jasper, QuartzNet or Citrinet, of characters or word pieces")
    parser.add_argument(
        "--output",
        required=True,
        type=local_path,
        metavar="DIR",
        help="folder for model.keras and config.yaml; made if absent",
    )
    add_overwrite_argument(parser)
    parser.add_argument(
        "--features",
        choices=("modern", "legacy"),
        default="modern",
        help="as NeMo from 2.5 on computes them, or as the older NeMo that trained the model did (%(default)s)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints a line per tensor and the sum; writes nothing unless every tensor fits."""
    archive, folder = one_model(arguments), arguments.output
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--output {folder}: is a file, give a folder")
    if (folder / "checkpoints").exists():
        raise UserError(f"--output {folder}: holds the checkpoints of a training; give another folder")
    outputs = [
        Output("--output", folder / "model.keras", "keras"),
        Output("--output", folder / "config.yaml", "config"),
    ]
    validate_outputs(outputs, [archive], arguments.overwrite, makes_folders=True)
    require_regular_file(archive, "archive")

    # After the checks of the arguments, which need no TensorFlow.
    from jasper_tf.interop.nemo.model import import_nemo

    imported = import_nemo(archive, arguments.features)
    files = [folder / TOKENIZER_FOLDER / name for name in imported.model.tokenizer.files()]
    pieces = [Output("--output", file, "tokenizer" if file.suffix == ".model" else "text") for file in files]
    validate_outputs(pieces, [archive], arguments.overwrite, makes_folders=True)
    for name, became in imported.tensors.items():
        print(f"{name} {became}")
    for note in imported.notes:
        print(f"note: {note}")
    imported.write(folder)
    parameters = sum(int(np.prod(v.shape)) for v in imported.model.trainable_variables)
    print(
        f"all {len(imported.tensors)} tensors matched, {parameters:,} trainable parameters, "
        f"{arguments.features} features: {folder / 'model.keras'}, {folder / 'config.yaml'}"
    )
    return 0
