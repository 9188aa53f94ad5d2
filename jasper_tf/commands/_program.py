"""The program's name, as it was called."""

import sys
from pathlib import Path


def program_name() -> str:
    """`jasper-tf`, or `python -m jasper_tf` where it was not called by that name."""
    return "jasper-tf" if Path(sys.argv[0]).name == "jasper-tf" else "python -m jasper_tf"
