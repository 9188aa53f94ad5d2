"""The folder of a page: whole, without what only a server has, and runnable as an ONNX export too."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from jasper_tf.errors import UserError
from jasper_tf.export.edge.output_folder import validate_output_folder
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.inference.edge.recognizer import EdgeRecognizer
from tests.serving.http.conftest import noise

ROOT = Path(__file__).parents[3]


def test_the_folder_has_all_that_the_page_names(site):
    page = site / "speech" / "page"
    names = {entry.name for entry in page.iterdir()}
    assert names == {"index.html", "labels.txt", "model.json", "model.onnx", "onnxruntime", "page"}
    html = (page / "index.html").read_text()
    assert not re.search(r"<script(?![^>]* src=)|<style|\son\w+=|\sstyle=|<!--|hot-words|API key", html)
    assert "'wasm-unsafe-eval'" in html and "unsafe-inline" not in html and "'unsafe-eval'" not in html
    for name in re.findall(r'(?:href|src)="([^"]+)"', html):
        assert (page / name).is_file()
    modules = [*(page / "page").rglob("*.js")]
    assert len(modules) > 15
    for module in modules:
        for name in re.findall(r'(?:from|import|URL\() ?"([^"]+\.\w+)"', module.read_text()):
            assert (module.parent / name).is_file(), (module, name)


def test_the_model_of_the_page_runs_elsewhere(site, web_model):
    audio = noise(3, 2.0)
    assert EdgeRecognizer(site / "speech" / "page").transcribe(audio).text == web_model.transcribe(audio).text != ""


@pytest.mark.medium
def test_the_command_says_what_the_page_leaves_out(archive, tmp_path):
    output = tmp_path / "page"
    words = tmp_path / "of this machine.txt"
    words.write_text("yes\n")
    decoding = ["--hot-words", words, "decoding.strategy=beam", "decoding.confidence_cfg.preserve_word_confidence=true"]
    options = ["--format", "web", "--onnxruntime-web", archive, "--output", output]
    run = ROOT / "tests" / "golden" / "begun_run" / "begun"
    done = subprocess.run(
        [sys.executable, ROOT / "export.py", run, *decoding, *options], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0 and done.stdout.strip() == str(output), done.stderr
    assert "greedily, not with beam" in done.stderr and "certainty" in done.stderr
    # Nothing names this machine's files, and another export may take its place.
    assert (output / "index.html").is_file() and not (output / "config.yaml").exists()
    assert words.name not in (output / "model.json").read_text()
    validate_output_folder(output, overwrite=True)


def test_without_the_program_there_is_no_folder(web_model, tmp_path):
    (tmp_path / "wrong.tgz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="wrong.tgz"):
        export_edge(web_model, tmp_path / "a" / "page", "web", onnxruntime_web=str(tmp_path / "wrong.tgz"))
    assert not (tmp_path / "a").exists()


def test_a_missing_package_is_named(monkeypatch, web_model, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="--format web: needs onnx"):
        export_edge(web_model, tmp_path / "page", "web")
