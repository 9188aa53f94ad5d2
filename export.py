"""Exports a trained model for TensorFlow Serving: python export.py runs/an4 --output serving/an4"""

import argparse
import json
import os
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="export.py", description=__doc__)
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
        help="no words and times, for servers that batch requests (configs/serving/batching_parameters.txt)",
    )
    arguments = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from jasper_tf.errors import UserError
    from jasper_tf.export.saved_model.writer import export
    from jasper_tf.inference.load_model import load_model
    from jasper_tf.interop.nemo.archive import read_archive

    run = Path(arguments.run)
    try:
        if run.is_dir() and Path(arguments.output).is_dir() and os.path.samefile(run, arguments.output):
            raise UserError(f"--output {arguments.output}: is the model's own folder; name another")
        # Before the long work.
        report = _json(Path(arguments.report)) if arguments.report else None
        model, config, environment = load_model(run), None, None
        if run.suffix == ".nemo":
            config = read_archive(run).config.decode()
        else:
            folder = run if run.is_dir() else run.parent
            config, environment = _text(folder / "config.yaml"), _text(folder / "environment.json")
            if run.is_dir() or run.name == "model.keras":
                report = report or _text(folder / "report.json")
        version = export(model, arguments.output, config, report, environment, arguments.batchable)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    except KeyboardInterrupt:
        return 130
    print(version)
    return 0


def _text(file: Path) -> str | None:
    return file.read_text(encoding="utf-8") if file.is_file() else None


def _json(file: Path) -> str:
    from jasper_tf.errors import UserError

    try:
        text = file.read_text(encoding="utf-8")
        json.loads(text)
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror}; give the output of evaluate --json") from None
    except ValueError:
        raise UserError(f"{file}: is not JSON; give the output of evaluate --json") from None
    return text


if __name__ == "__main__":
    sys.exit(main())
