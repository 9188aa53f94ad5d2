"""The commands of the Makefile that are no command of this package."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_demo_ends_with_five_utterances_and_their_references(tmp_path):
    """The end of the recipe, on a file as `evaluate --output` writes it: spread over it, in its order."""
    recipe = subprocess.run(
        [
            "make",
            "--no-print-directory",
            "--dry-run",
            "--always-make",
            "demo",
            f"DEMO={tmp_path}",
            f"VENV={sys.prefix}",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = [{"text": f"number {n}", "pred_text": f"numb {n}", "wer": 0.5} for n in range(12)]
    (tmp_path / "heard.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert f"--output {tmp_path}/heard.jsonl" in recipe
    end = recipe[recipe.index("echo 'five") :]
    _, *shown = subprocess.run(["sh", "-c", end], capture_output=True, text=True, check=True).stdout.splitlines()
    assert shown == [line for n in (0, 2, 4, 6, 8) for line in (f"  said:  number {n}", f"  heard: numb {n}")]
