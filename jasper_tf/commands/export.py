"""`jasper-tf export`: a trained model as a TensorFlow SavedModel, for LiteRT, ONNX or the browser."""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

from jasper_tf.commands._decoding import DecodingOptions, add_decoding_arguments
from jasper_tf.data.manifest.columns import manifest_paths
from jasper_tf.errors import UserError, printable
from jasper_tf.export.edge.formats import FORMATS, PRECISIONS
from jasper_tf.export.edge.model_info import MODEL_INFO
from jasper_tf.export.edge.output_folder import validate_output_folder
from jasper_tf.inference.load_model import load_model
from jasper_tf.inference.model_path import local_model, require_model_path
from jasper_tf.interop.nemo.archive import read_archive
from jasper_tf.io.file_access import require_regular_file
from jasper_tf.io.remote import is_remote
from jasper_tf.io.validate_outputs import add_overwrite_argument
from jasper_tf.io.working_copy import output_folder

HELP = "export a trained model: a SavedModel for TensorFlow Serving, or for devices: LiteRT, ONNX, a web page"
INTERMIXED = True

_SAVED_MODEL = "saved_model"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("run", help="a run's folder, a model.keras or a .nemo")
    parser.add_argument(
        "--output",
        required=True,
        metavar="FOLDER",
        help="a SavedModel: folder of the versions, writes FOLDER/1, FOLDER/2, ...; else the folder of the export",
    )
    parser.add_argument(
        "--format", choices=(_SAVED_MODEL, *FORMATS), default=_SAVED_MODEL, help="what is written (%(default)s)"
    )
    parser.add_argument(
        "--quantize",
        choices=PRECISIONS,
        default="none",
        help="precision of the weights; int8-static also of the activations, and needs --calibration (%(default)s)",
    )
    parser.add_argument(
        "--calibration",
        metavar="MANIFEST",
        help="recordings like those that the model will hear: the export is compared with the model on them, and they "
        "give int8-static its ranges (default: compared on noise and tones)",
    )
    parser.add_argument(
        "--target",
        action="append",
        default=[],
        choices=sorted({value for one in FORMATS.values() for value in one.targets}),
        help="also writes a file for this program; may be repeated",
    )
    parser.add_argument(
        "--onnxruntime-web",
        metavar="FILE.tgz",
        help="what `npm pack` gives, for --format web without npm or network (default: npm brings it)",
    )
    add_overwrite_argument(parser)
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
    """Writes the export and prints its folder."""
    require_model_path(arguments.run)
    model_path = local_model(arguments.run)
    if model_path.is_dir() and Path(arguments.output).is_dir() and os.path.samefile(model_path, arguments.output):
        raise UserError(f"--output {arguments.output}: is the model's own folder; name another")
    # Before the long work.
    options = DecodingOptions(arguments, arguments.overrides)
    _validate_format(arguments)
    report = _json(Path(arguments.report)) if arguments.report else None

    model, config, environment = load_model(model_path), None, None
    if model_path.suffix == ".nemo":
        config = read_archive(model_path).config.decode()
    else:
        folder = model_path if model_path.is_dir() else model_path.parent
        config, environment = _text(folder / "config.yaml"), _text(folder / "environment.json")
        if model_path.is_dir() or model_path.name == "model.keras":
            report = report or _text(folder / "report.json")
    decoding = options.apply(model.decoding_config)
    saved_model = arguments.format == _SAVED_MODEL
    last = "saved_model.pb" if saved_model else MODEL_INFO
    with output_folder(arguments.output, last, arguments.overwrite) as output:
        if saved_model:
            from jasper_tf.export.saved_model.writer import export

            written = export(model, output, config, report, environment, arguments.batchable, decoding)
        else:
            from jasper_tf.export.edge.writer import export_edge

            written = export_edge(
                model,
                output,
                arguments.format,
                arguments.quantize,
                tuple(dict.fromkeys(arguments.target)),
                arguments.calibration,
                decoding,
                config,
                arguments.overwrite,
                _say,
                arguments.onnxruntime_web,
            )
    print(str(written).replace(str(output), arguments.output.rstrip("/"), 1))
    return 0


def _validate_format(arguments: argparse.Namespace) -> None:
    """Requires that the options belong to the format."""
    saved_model = arguments.format == _SAVED_MODEL
    only_for = {
        "--quantize": (arguments.quantize != "none", not saved_model),
        "--calibration": (arguments.calibration is not None, not saved_model),
        "--target": (bool(arguments.target), not saved_model),
        "--onnxruntime-web": (arguments.onnxruntime_web is not None, arguments.format == "web"),
        "--overwrite": (arguments.overwrite, not saved_model),
        "--report": (arguments.report is not None, saved_model),
        "--batchable": (arguments.batchable, saved_model),
    }
    for option, (given, has_effect) in only_for.items():
        if given and not has_effect:
            raise UserError(f"{option}: has no effect with --format {arguments.format}; leave it out")
    if saved_model:
        return
    known = FORMATS[arguments.format]
    for option, values, wanted in (
        ("--quantize", known.quantize, [arguments.quantize]),
        ("--target", known.targets, arguments.target),
    ):
        for value in wanted:
            if value not in values:
                possible = ", ".join(values) or "none"
                raise UserError(f"{option} {value}: --format {known.name} has none of it; it takes {possible}")
    if arguments.quantize == "int8-static" and arguments.calibration is None:
        raise UserError(
            "--quantize int8-static: needs recordings for the ranges of activations; add --calibration MANIFEST"
        )
    if arguments.calibration is not None:
        for manifest in manifest_paths(arguments.calibration):
            if not is_remote(manifest) and not os.path.exists(manifest):
                raise UserError(f"--calibration {manifest}: no such file; give a manifest")
    if arguments.onnxruntime_web is not None:
        require_regular_file(arguments.onnxruntime_web, "archive")
    validate_output_folder(arguments.output, arguments.overwrite)


def _say(message: str) -> None:
    print(printable(message), file=sys.stderr, flush=True)


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
