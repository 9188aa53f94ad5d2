"""A server that means harm: every request ends in time and memory, in one line that steers no terminal."""

import contextlib
import itertools
import json
import os
import socketserver
import subprocess
import sys
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import orjson
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from jasper_tf.serving.client.rest_client import RestClient
from jasper_tf.serving.client.server_error import BackOff, ServerError

ROOT = Path(__file__).parents[2]
SOUND = np.zeros(1600, np.float32)
OK = b"HTTP/1.1 200 OK\r\n"


class HostileServer(socketserver.ThreadingTCPServer):
    """Sends `script`'s parts with `pause_s` between them, whatever it is asked."""

    daemon_threads = True
    block_on_close = False

    def __init__(self, script, pause_s=0.0):
        self.script, self.pause_s = script, pause_s
        super().__init__(("127.0.0.1", 0), Handler)
        self.address = f"127.0.0.1:{self.server_address[1]}"

    def __enter__(self):
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.shutdown()
        self.server_close()


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        with contextlib.suppress(OSError):
            head = b""
            while b"\r\n\r\n" not in head:
                head += self.request.recv(65536)
            size = int(head.lower().partition(b"content-length: ")[2].split()[0])
            missing = size - len(head.partition(b"\r\n\r\n")[2])
            while missing > 0 and (part := self.request.recv(65536)):
                missing -= len(part)
            for part in self.server.script():
                self.request.sendall(part)
                time.sleep(self.server.pause_s)


def endless(head, part):
    return lambda: itertools.chain([head], itertools.repeat(part))


def body(content, status=b"HTTP/1.1 200 OK"):
    return [status + b"\r\nContent-Length: %d\r\n\r\n" % len(content) + content]


def fail(script, pause_s=0.0, **options):
    """The error that `recognize` ends with; a hang fails the test."""
    options = {"timeout_s": 1.0, "back_off": BackOff(0), **options}
    with HostileServer(script, pause_s) as server, RestClient(server.address, **options) as client:
        pool = ThreadPoolExecutor(1)
        try:
            error = pool.submit(client.recognize, SOUND).exception(timeout=30)
        finally:
            pool.shutdown(wait=False)
    assert isinstance(error, ServerError), error
    assert len(str(error).splitlines()) == 1 and str(error).isprintable() and len(str(error)) < 600
    return str(error)


@pytest.mark.parametrize(
    ("script", "pause_s"),
    [
        pytest.param(endless(OK + b"X: ", b"x"), 0.1, id="a header, byte by byte"),
        pytest.param(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n"), 0.1, id="100 Continue, slowly"),
        pytest.param(endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 99), 0.0, id="100 Continue, at once"),
        pytest.param(endless(OK + b"Content-Length: 9999\r\n\r\n", b"x"), 0.1, id="a slow body"),
        pytest.param(endless(OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n" * 999), 0.0, id="trailers"),
        pytest.param(endless(b"", b""), 0.1, id="nothing"),
    ],
)
def test_the_whole_exchange_ends_at_its_deadline(script, pause_s):
    assert "no answer within 1 s; raise --timeout" in fail(script, pause_s)


@pytest.mark.parametrize(
    "head", [OK + b"\r\n", OK + b"Content-Length: 99999999999\r\n\r\n", b"HTTP/1.1 500 No\r\n\r\n"]
)
def test_an_endless_answer_takes_bounded_memory(head):
    tracemalloc.start()
    try:
        assert "too large" in fail(endless(head, b"x" * 65536), max_message_mb=2.0, timeout_s=30.0)
        assert tracemalloc.get_traced_memory()[1] < 30e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("status", [b"HTTP/1.1 200 OK", b"HTTP/1.1 500 Internal Server Error"])
@pytest.mark.parametrize(
    "content",
    [
        b"[" * 200_000,
        b'{"outputs": ' * 20_000,
        b'{"outputs": {"text": ' + b"[" * 900 + b"]" * 900 + b"}}",
        b'{"outputs": {"text": ["\\ud800"]}}',
        b'{"outputs": {"text": ["a"], "confidence": [' + b"9" * 5000 + b"]}}",
        b'{"outputs": {"text": ["a", "b"]}}',
        b'{"outputs": {"text": ["a"], "confidence": ["\\u001b[2J\\n"]}}',
        b'{"error": "\\u001b]0;title\\u0007\\u009b31m\\n\\u2028"}',
        b'{"error": "' + b"x" * 100_000 + b'"}',
        b"\xff\xfe\x1b[2J",
        b"",
    ],
)
def test_any_answer_is_one_line(status, content):
    fail(lambda: body(content, status))


def test_a_status_line_with_control_characters():
    fail(lambda: [b"HTTP/\x1b[2J 200 OK\r\n\r\n"])
    fail(lambda: [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\x1b\r\n"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=6,
)
NAMES = ("text", "confidence", "words", "words_start_s", "words_end_s", "words_confidence", "words_row_lengths")


@settings(max_examples=100, deadline=None)
@given(st.fixed_dictionaries({}, optional=dict.fromkeys(NAMES, st.lists(VALUES, max_size=2) | VALUES)))
def test_outputs_of_any_kind_are_a_transcript_or_an_error(outputs):
    with HostileServer(lambda: body(orjson.dumps({"outputs": outputs}))) as server:
        with contextlib.suppress(ServerError):
            json.dumps(RestClient(server.address, back_off=BackOff(0)).recognize(SOUND).as_json())


def test_a_text_does_not_reach_the_terminal_raw(tmp_path):
    file = tmp_path / "a\x1b[31m.wav"
    soundfile.write(file, SOUND, 16000)
    evil = "one\x1b]0;two\x07\u202ethree\nfour"
    with HostileServer(lambda: body(orjson.dumps({"outputs": {"text": [evil], "confidence": [0.5]}}))) as server:
        command = [sys.executable, "-m", "jasper_tf", "client", "--rest", "--server", server.address]
        run = {"cwd": ROOT, "capture_output": True, "text": True, "timeout": 60, "env": os.environ}
        plain = subprocess.run([*command, file], **run)
        as_json = subprocess.run([*command, "--json", file], **run)
        wrong = subprocess.run([*command, tmp_path / "b\x1b.wav"], **run)
    assert (plain.returncode, plain.stderr) == (0, "")
    path, _, text = plain.stdout.removesuffix("\n").partition("\t")
    assert path.isprintable() and text.isprintable() and "one" in text and "four" in text
    assert as_json.stdout.removesuffix("\n").isprintable()
    found = json.loads(as_json.stdout)
    assert (found["audio_filepath"], found["text"]) == (str(file), evil)
    assert wrong.returncode == 1 and wrong.stderr.removesuffix("\n").isprintable() and "no such file" in wrong.stderr
