"""The command export writes models for devices, and says what is wrong before the long work."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SMALL_RUN = ROOT / "tests" / "golden" / "begun_run" / "begun"


def export(*arguments):
    return subprocess.run(
        [sys.executable, ROOT / "export.py", *map(str, arguments)], cwd=ROOT, capture_output=True, text=True
    )


@pytest.mark.medium
def test_an_export_is_verified_and_transcribes(tmp_path, spoken_corpus):
    output = tmp_path / "edge"
    calibration = ("--calibration", f"{spoken_corpus / 'dev.jsonl'},{spoken_corpus / 'dev.jsonl'}")
    done = export(SMALL_RUN, "--format", "litert", *calibration, "--output", output)
    assert done.returncode == 0 and done.stdout.strip() == str(output), done.stderr
    assert "24 of 24 texts equal" in done.stderr and "WER" in done.stderr
    assert {entry.name for entry in output.iterdir()} == {"model.tflite", "model.json", "labels.txt", "config.yaml"}
    about = json.loads((output / "model.json").read_text())
    assert about["verification"]["clips"] == 24 and about["verification"]["max_difference"] < 1e-4
    assert (output / "labels.txt").read_text().split("\n")[:-1] == about["labels"]

    again = export(SMALL_RUN, "--format", "litert", "--output", output)
    assert again.returncode == 2 and "--overwrite" in again.stderr
    scored = []
    for model in (SMALL_RUN, output / "model.tflite"):
        report = tmp_path / "report.json"
        done = subprocess.run(
            [sys.executable, "-m", "jasper_tf", "evaluate", "--model", model, "--manifest", spoken_corpus / "dev.jsonl"]
            + ["--json", report, "--overwrite"],
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stderr
        scored.append(json.loads(report.read_text()))
    for key in ("wer", "cer", "words"):
        assert scored[0].get(key) == scored[1].get(key)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--format", "litert", "--quantize", "int8-static"], ["--calibration"]),
        (["--format", "litert", "--target", "sherpa-raw"], ["--target", "litert"]),
        (["--format", "litert", "--batchable"], ["--batchable", "litert"]),
        (["--quantize", "float16"], ["--quantize", "saved_model"]),
        (["--format", "litert", "--quantize", "int4"], ["int4", "int8-dynamic"]),
        (["--format", "tflite"], ["tflite", "litert"]),
        (["--format", "litert", "--calibration", "nowhere.json"], ["nowhere.json"]),
        (["--format", "onnx", "--onnxruntime-web", "a.tgz"], ["--onnxruntime-web", "onnx"]),
        (["--format", "web", "--onnxruntime-web", "nowhere.tgz"], ["nowhere.tgz"]),
        (["--format", "web", "--target", "sherpa-raw"], ["--target", "web"]),
    ],
)
def test_what_does_not_fit_together_is_said_in_one_line(tmp_path, arguments, words):
    done = export(SMALL_RUN, *arguments, "--output", tmp_path / "edge")
    assert done.returncode == 2 and not (tmp_path / "edge").exists()
    assert "Traceback" not in done.stderr and all(word in done.stderr.splitlines()[-1] for word in words)


def test_the_folder_of_a_run_is_not_replaced(tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.csv").write_text("mine")
    done = export(SMALL_RUN, "--format", "litert", "--output", tmp_path / "run", "--overwrite")
    assert done.returncode == 2 and (tmp_path / "run" / "metrics.csv").read_text() == "mine"
