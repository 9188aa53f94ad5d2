"""Clients that want to do harm: afterwards the others are served, and files and memory are back."""

import asyncio
import contextlib
import json
import os
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from tests.serving.http.conftest import as_wav, noise, silence
from tests.serving.http.live_server import LiveServer

pytestmark = pytest.mark.medium

TRANSCRIPTIONS = b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\n"
MULTIPART = TRANSCRIPTIONS + b"Content-Type: multipart/form-data; boundary=x\r\n"


class LimitedServer(LiveServer):
    """With 64 open files, and files of up to 2 MB."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self._command = ["sh", "-c", 'ulimit -n 64 && ulimit -f 4096 && exec "$@"', "sh", *self._command]


@pytest.fixture(scope="module")
def attacked(model_folder):
    options = "--body-timeout-s 2 --live-keep-s 0.5 --max-live-streams 4 --max-audio-s 60"
    with LiveServer(model_folder, *options.split()) as server:
        yield server


@pytest.fixture(autouse=True)
def unharmed(request, recordings, expected):
    """After each test the server answers, and holds no more files than before."""
    if "attacked" not in request.fixturenames:
        yield
        return
    server = request.getfixturevalue("attacked")
    transcribed = server.transcribe(recordings["0.wav"])
    before = open_files(server)
    yield
    transcribed = server.transcribe(recordings["0.wav"])
    assert transcribed.json()["text"] == expected["0.wav"].text
    server.wait_for(lambda: open_files(server) <= before + 1)
    assert server.metric("jasper_queue_length") == server.metric("jasper_audio_held_seconds") == 0
    assert "Traceback" not in server.log


def open_files(server) -> int:
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def highest_mb(server) -> float:
    """The most memory that it ever had."""
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    [kilobytes] = [line.split()[1] for line in lines if line.startswith("VmHWM")]
    return int(kilobytes) / 1000


def status(server, content: bytes) -> int:
    """Of the answer to these bytes, once the server closed the connection; 0: it did not answer."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        answer = b""
        with contextlib.suppress(OSError):
            connection.sendall(content)
            while part := connection.recv(1 << 16):
                answer += part
    return int(answer.split()[1]) if answer else 0


@pytest.mark.parametrize(
    "content",
    [
        np.random.default_rng(0).bytes(5000),
        b"\x16\x03\x01" + bytes(500),  # TLS
        TRANSCRIPTIONS + b"Content-Length: -5\r\n\r\n",
        TRANSCRIPTIONS + b"Content-Length: 2000000000\r\n\r\nx",
        TRANSCRIPTIONS + b"Content-Length: " + b"9" * 40 + b"\r\n\r\n",
        MULTIPART + b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
        MULTIPART + b"Content-Length: 3\r\nConnection: close\r\n\r\n--x",
        b"GET /" + b"a" * 200_000 + b" HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 20_000 + b"\r\n",
        b"GET /\xff\xfe HTTP/1.1\r\nHost: a\r\n\r\n",
    ],
    ids=lambda content: repr(content[:40]),
)
def test_garbage(attacked, content):
    assert status(attacked, content) in (0, 400, 413, 431)


def test_ways_out_of_the_page(attacked):
    for path in ("/page/../app.py", "/page/%2e%2e/app.py", "/page/..%2fapp.py", "/page//etc/passwd", "/page/%00"):
        assert status(attacked, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode()) == 404


def test_lines_for_the_log(attacked):
    """What a client writes begins no line, and steers no terminal."""
    request = b"GET /%0aINJECTED%1b[31m HTTP/1.1\r\nHost: a\r\nX-Request-ID: b\tINJECTED\r\nConnection: close\r\n\r\n"
    assert status(attacked, request) == 404
    attacked.wait_for(lambda: "INJECTED" in attacked.log)
    [line] = [line for line in attacked.log.splitlines() if "INJECTED" in line]
    assert line.startswith("127.0.0.1 GET ") and line.isprintable()


def test_a_second_request_that_never_ends(attacked):
    """One byte at a time behind a complete request, which ends the server's limit for idle connections."""
    with socket.create_connection(("127.0.0.1", attacked.port), timeout=0.1) as connection:
        connection.sendall(b"GET /health HTTP/1.1\r\nHost: a\r\n\r\n")
        while b"alive" not in connection.recv(9999):
            pass
        end = time.monotonic() + 20
        with contextlib.suppress(ConnectionError):
            while True:
                assert time.monotonic() < end
                connection.sendall(b"G")
                with contextlib.suppress(TimeoutError):
                    if not connection.recv(1):
                        break


@pytest.mark.parametrize(
    "fields",
    [
        {"n_best": "1e9"},
        {"n_best": "8", "decoding": "beam.beam_size=4"},
        {"decoding": "strategy=beam\nbeam.beam_size=129"},
        {"decoding": '{"strategy": "beam", "beam": {"beam_size": 1e9}}'},
        {"decoding": "strategy=beam\nbeam.top_tokens=1000000"},
        {"hot_words": "[" * 100_000},
        {"hot_words": json.dumps(["z" * 50] * 20_000)},
        {"hot_words": json.dumps([f"{'zab' * 10}{'z' * k}" for k in range(300)] * 30)[:-1] + "x"},
    ],
    ids=lambda fields: " ".join(f"{name}={value[:50]}" for name, value in fields.items()),
)
def test_options_that_cost_too_much(attacked, recordings, fields):
    found = attacked.transcribe(recordings["0.wav"], **fields)
    assert found.status_code == 400 and set(found.json()["error"]) == {"message", "type", "param", "code"}


@pytest.mark.parametrize("path", ["/v1/audio/transcriptions", "/v1/analysis"])
@pytest.mark.parametrize("bomb", [(10, 8_000, 20, "OGG"), (3600, 16_000, 1, "FLAC")], ids=["20 channels", "an hour"])
def test_small_files_of_much_sound(attacked, path, bomb):
    """They are refused before they are decoded."""
    content = silence(*bomb)
    assert len(content) < 300_000
    before = highest_mb(attacked)
    if path.endswith("analysis"):
        found = httpx.post(attacked.url + path, content=content, trust_env=False, timeout=60)
    else:
        found = attacked.transcribe(content, "a.flac")
    assert found.status_code == 413 and highest_mb(attacked) < before + 100


def test_a_header_that_promises_hours(attacked):
    content = bytearray(as_wav(noise(1, 1.0), subtype="PCM_16", form="FLAC"))
    content[21] = content[21] & 0xF0 | 0x0F  # of 36 bits: the number of samples
    content[22:26] = b"\xff" * 4
    assert attacked.transcribe(bytes(content), "a.flac").status_code in (400, 413)


def test_live_streams_whose_clients_vanish(attacked):
    """16 at once where 4 have room: some are refused, some vanish, and all are forgotten in the end."""

    async def talk(k: int) -> str:
        url = f"ws://127.0.0.1:{attacked.port}/v1/stream?sample_rate=16000"
        async with connect(url, proxy=None) as stream:
            first = json.loads(await stream.recv())
            if first["type"] == "session":
                await stream.send(bytes(32_000))
                if k % 2:
                    stream.transport.abort()
                    return "vanished"
                await stream.send('{"type": "end"}')
            with contextlib.suppress(ConnectionClosed):
                async for _ in stream:
                    pass
            return first["type"]

    async def all_of_them():
        return await asyncio.gather(*map(talk, range(16)))

    assert {"error", "vanished"} <= set(asyncio.run(all_of_them()))
    attacked.wait_for(lambda: attacked.metric("jasper_live_streams") == 0)


def test_a_flood_of_messages(attacked):
    async def flood() -> int:
        url = f"ws://127.0.0.1:{attacked.port}/v1/stream?sample_rate=16000"
        async with connect(url, proxy=None) as stream:
            with contextlib.suppress(ConnectionClosed):
                await stream.recv()
                for k in range(2000):
                    await stream.send('{"type": "ack", "seq": 1}' if k % 2 else b"x")
                await stream.send(bytes((1 << 20) + 1))
                async for _ in stream:
                    pass
        return stream.close_code

    assert asyncio.run(flood()) == 1009  # too big


def test_too_few_files_and_no_room_for_an_upload(model_folder, recordings, expected):
    """Connections have to wait; the log does not grow by a traceback for each try."""
    with LimitedServer(model_folder, "--access-log", "off") as server:
        silent = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(100)]
        server.wait_for(lambda: "ulimit -n" in server.log)
        time.sleep(1.5)
        for connection in silent:
            connection.close()
        server.wait_for(lambda: open_files(server) < 30)
        assert server.log.count("\n") < 5
        with ThreadPoolExecutor(30) as pool:
            found = list(pool.map(lambda _: server.transcribe(recordings["0.wav"]), range(30)))
        assert {one.status_code for one in found} <= {200, 503}
        large = server.transcribe(as_wav(noise(1, 40.0)))
        assert (large.status_code, large.json()["error"]["code"]) == (503, "storage_failed")
        assert server.transcribe(recordings["0.wav"]).json()["text"] == expected["0.wav"].text
        assert "Traceback" not in server.log
