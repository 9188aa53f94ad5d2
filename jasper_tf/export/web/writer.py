"""Writes a folder for static web servers: a page that transcribes in the browser."""

from __future__ import annotations

import re
from pathlib import Path

import jasper_tf
from jasper_tf.export.edge.formats import EdgeJob
from jasper_tf.export.onnx.writer import write_onnx
from jasper_tf.export.web.onnxruntime_web import read_onnxruntime_web

_OWN_PAGE = Path(__file__).with_name("page")
# Files of the live server's page: what is drawn and written is the same in both.
_SERVER_PAGE = Path(jasper_tf.__file__).parent / "serving" / "http" / "page"
_SERVER_ONLY = ("index.html", "server.js", "live/live_stream.js")
_SERVER_PART = re.compile(r"\n *<!-- server -->.*?<!-- end -->", re.DOTALL)
_BROWSER_PART = re.compile(r"<!-- browser (.*?) -->", re.DOTALL)
_NOTE = re.compile(r"\n *<!-- export\.py.*?-->", re.DOTALL)


def write_web(job: EdgeJob, folder: Path) -> None:
    """Writes the page, the model and the program that runs it; nothing of it asks another host.

        index.html              the live server's page, without the server
        page/                   its style and modules
        onnxruntime/            onnxruntime-web
        model.onnx              see `write_onnx`

    Raises:
        UserError: as `write_onnx` and `read_onnxruntime_web`.
    """
    decoding = job.model.decoding_config if job.decoding is None else job.decoding
    if not decoding.is_greedy:
        job.say(
            f"--format web: the page decodes greedily, not with {decoding.strategy}: its texts can have more errors"
        )
    if decoding.confidence_cfg.is_active:
        job.say("--format web: the page's certainty of a word is the lowest probability of its labels")
    program = read_onnxruntime_web(job.onnxruntime_web)
    write_onnx(job, folder)
    pages = {_SERVER_PAGE: _SERVER_ONLY, _OWN_PAGE: ()}
    files = {f"onnxruntime/{name}": content for name, content in program.items()}
    for source, left_out in pages.items():
        for path in source.rglob("*"):
            name = path.relative_to(source).as_posix()
            if path.is_file() and name not in left_out:
                files[f"page/{name}"] = path.read_bytes()
    html = (_SERVER_PAGE / "index.html").read_text(encoding="utf-8")
    files["index.html"] = _BROWSER_PART.sub(r"\1", _SERVER_PART.sub("", _NOTE.sub("", html))).encode()
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
