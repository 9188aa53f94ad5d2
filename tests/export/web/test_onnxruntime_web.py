"""Where the page's onnxruntime-web comes from, and what is said when it does not."""

import pytest

from jasper_tf.errors import UserError
from jasper_tf.export.web.onnxruntime_web import PACKAGE, read_onnxruntime_web


def put_npm(folder, monkeypatch, script: str) -> None:
    file = folder / "npm"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


def test_an_archive_gives_the_program_and_its_license(archive, tmp_path, monkeypatch):
    found = read_onnxruntime_web(str(archive))
    assert found["ort-wasm-simd-threaded.wasm"].startswith(b"\0asm") and b"Microsoft" in found["LICENSE"]
    # npm gets the name, and a folder to put it in.
    put_npm(tmp_path, monkeypatch, f'[ "$2" = {PACKAGE} ] && cp {archive} "$4"')
    assert read_onnxruntime_web() == found


def test_another_archive_is_refused(archive, tmp_path):
    other = tmp_path / "other.tgz"
    other.write_bytes(archive.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=rf"other.tgz.*is not {PACKAGE}"):
        read_onnxruntime_web(str(other))


def test_without_npm_the_way_around_is_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UserError, match="npm, which is not installed.*--onnxruntime-web"):
        read_onnxruntime_web()


def test_the_reason_of_npm_is_said(tmp_path, monkeypatch):
    put_npm(tmp_path, monkeypatch, "echo 'npm error code ENOTFOUND' >&2; exit 1")
    with pytest.raises(UserError, match="code ENOTFOUND.*--onnxruntime-web"):
        read_onnxruntime_web()
    put_npm(tmp_path, monkeypatch, "exit 0")
    with pytest.raises(UserError, match="--onnxruntime-web"):
        read_onnxruntime_web()
