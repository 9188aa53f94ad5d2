"""The folder of a page: whole, without what only a server has, and runnable as an ONNX export too."""

import re
import sys

import pytest

from jasper_tf.config.decoding_overrides import read_decoding
from jasper_tf.errors import UserError
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.inference.edge.recognizer import EdgeRecognizer
from tests.serving.http.conftest import noise


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


def test_what_the_page_leaves_out_is_said(web_model, archive, tmp_path):
    said = []
    decoding = read_decoding({"strategy": "beam", "confidence_cfg": {"preserve_word_confidence": True}})
    options = {"onnxruntime_web": str(archive), "say": said.append, "config_yaml": "manifest: /home/me"}
    export_edge(web_model, tmp_path / "page", "web", decoding=decoding, **options)
    assert "greedily, not with beam" in said[0] and "certainty" in said[1]
    assert not (tmp_path / "page" / "config.yaml").exists()


def test_without_the_program_there_is_no_folder(web_model, tmp_path):
    (tmp_path / "wrong.tgz").write_bytes(b"no archive")
    with pytest.raises(UserError, match="wrong.tgz"):
        export_edge(web_model, tmp_path / "a" / "page", "web", onnxruntime_web=str(tmp_path / "wrong.tgz"))
    assert not (tmp_path / "a").exists()


def test_a_missing_package_is_named(monkeypatch, web_model, tmp_path):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match="--format web: needs onnx"):
        export_edge(web_model, tmp_path / "page", "web")
