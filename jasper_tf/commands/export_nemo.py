"""python -m jasper_tf export-nemo: a model of this package to a NeMo archive."""

from __future__ import annotations

import argparse
from contextlib import redirect_stdout

from jasper_tf.commands._arguments import add_one_model, one_model
from jasper_tf.errors import UserError
from jasper_tf.inference.load_model import load_model
from jasper_tf.inference.model_path import local_model, require_model_path
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, report_stream, validate_outputs

HELP = "turn a trained model into a .nemo archive that NeMo's EncDecCTCModel.restore_from loads"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_one_model(parser, "M", "a run's folder, a model.keras beside config.yaml, or a .nemo")
    parser.add_argument("--output", required=True, metavar="MODEL.nemo", help="the archive")
    add_overwrite_argument(parser)


def run(arguments: argparse.Namespace) -> int:
    """Prints where NeMo will not compute the same, if anywhere, and the archive's path."""
    with redirect_stdout(report_stream([arguments.output])):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    require_model_path(one_model(arguments))
    source = local_model(one_model(arguments))
    folder = source if source.is_dir() else source.parent
    validate_outputs(
        [Output("--output", arguments.output, "nemo")],
        [source, folder / "model.keras", folder / "config.yaml"],
        arguments.overwrite,
    )

    # After the checks of the arguments, which need no TensorFlow.
    from jasper_tf.interop.nemo.model import export_nemo, import_nemo

    if source.suffix == ".nemo":
        imported = import_nemo(source)
        model, config = imported.model, imported.config
    else:
        model = load_model(source)
        file = folder / "config.yaml"
        if not file.is_file():
            raise UserError(f"{file}: no such file; NeMo needs the configuration that the model was trained with")
        config = load_config(file)
    for note in export_nemo(model, config, arguments.output):
        print(f"note: {note}")
    print(arguments.output)
    return 0
