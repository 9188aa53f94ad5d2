"""`jasper-tf export`: a trained model as a TensorFlow SavedModel."""

from __future__ import annotations

import argparse
import json
import os
from pathlib import Path

from jasper_tf.commands._decoding import DecodingOptions, add_decoding_arguments
from jasper_tf.errors import UserError
from jasper_tf.inference.model_path import require_model_path

HELP = "export a trained model as a SavedModel for TensorFlow Serving: raw audio in, text out"
INTERMIXED = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run's folder, a model.keras or a .nemo")
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="folder of the versions: writes FOLDER/1, FOLDER/2, ..."
    )
    parser.add_argument(
        "--report",
        metavar="FILE",
        help="output of evaluate --json, copied into the export (default: report.json of the run's folder, if any)",
    )
    parser.add_argument(
        "--batchable",
        action="store_true",
        help="no words and times, and no hot words in requests, for servers that batch requests "
        "(configs/serving/batching_parameters.txt)",
    )
    add_decoding_arguments(parser)
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="decoding.KEY=value",
        help="how the export decodes, such as decoding.beam.beam_size=64 (default: as the model)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the next version and prints its folder."""
    model_path = Path(arguments.run)
    require_model_path(model_path)
    if model_path.is_dir() and Path(arguments.output).is_dir() and os.path.samefile(model_path, arguments.output):
        raise UserError(f"--output {arguments.output}: is the model's own folder; name another")
    # Before the long work.
    options = DecodingOptions(arguments, arguments.overrides)
    report = _json(Path(arguments.report)) if arguments.report else None

    from jasper_tf.export.saved_model.writer import export
    from jasper_tf.inference.load_model import load_model
    from jasper_tf.interop.nemo.archive import read_archive

    model, config, environment = load_model(model_path), None, None
    if model_path.suffix == ".nemo":
        config = read_archive(model_path).config.decode()
    else:
        folder = model_path if model_path.is_dir() else model_path.parent
        config, environment = _text(folder / "config.yaml"), _text(folder / "environment.json")
        if model_path.is_dir() or model_path.name == "model.keras":
            report = report or _text(folder / "report.json")
    decoding = options.apply(model.decoding_config)
    print(export(model, arguments.output, config, report, environment, arguments.batchable, decoding))
    return 0


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _json(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
        json.loads(text)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}; give the output of evaluate --json") from None
    except ValueError:
        raise UserError(f"{file}: is not JSON; give the output of evaluate --json") from None
    return text
