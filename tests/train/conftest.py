"""train.py in the process of the tests: a new one takes as long to start as a tiny training."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def run_here(monkeypatch, capsys):
    """train.py's main in this process: (exit status, stdout, stderr)."""
    spec = importlib.util.spec_from_file_location("train_command", ROOT / "train.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
        status = module.main()
        return status, *capsys.readouterr()

    return run
