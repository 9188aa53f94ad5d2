"""A trained run to a SavedModel: python export.py runs/an4 --output serving/an4"""

import argparse
import os
import sys
from pathlib import Path


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="export.py", description=__doc__)
    parser.add_argument("run", help="a run's folder, a model.keras or a .nemo")
    parser.add_argument(
        "--output", required=True, metavar="FOLDER", help="gets the next version: FOLDER/1, FOLDER/2, ..."
    )
    arguments = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

    from jasper_tf.errors import UserError
    from jasper_tf.interop.nemo_archive import read_archive
    from jasper_tf.jasper_ctc import load_model
    from jasper_tf.serving.saved_model import export

    run = Path(arguments.run)
    try:
        model, config = load_model(run), None
        if run.suffix == ".nemo":
            config = read_archive(run).config.decode()
        elif (file := (run if run.is_dir() else run.parent) / "config.yaml").is_file():
            config = file.read_text(encoding="utf-8")
        version = export(model, arguments.output, config)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(version)
    return 0


if __name__ == "__main__":
    sys.exit(main())
