"""A server with a key, narrow limits and JSON lines as access log."""

import io
import json
import socket
import ssl
import subprocess
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.serving.http.conftest import as_wav, noise
from tests.serving.http.live_server import LiveServer

pytestmark = pytest.mark.medium

KEY = {"Authorization": "Bearer secret"}


@pytest.fixture(scope="module")
def guarded(model_folder, tmp_path_factory):
    """Uploads of 1 MB in 1 s, recordings of 6 s, two at a time, and half a second until a batch begins."""
    folder = tmp_path_factory.mktemp("without_av")
    (folder / "av.py").write_text("raise ImportError('not installed')")
    options = "--max-upload-mb 1 --body-timeout-s 1 --max-audio-s 6 --queue 2 --batch-wait-ms 500 --access-log json"
    environment = {"JASPER_API_KEY": "secret", "PYTHONPATH": f"{folder}:."}
    with LiveServer(
        model_folder, *options.split(), "--cors-origin", "https://a.example", environment=environment
    ) as server:
        yield server


def test_the_key(guarded, recordings, expected):
    for given in (None, "Bearer wrong", "Bearer", "secret", "Basic secret"):
        headers = {} if given is None else {"Authorization": given}
        found = guarded.transcribe(recordings["0.wav"], headers=headers)
        error = found.json()["error"]
        assert (found.status_code, error["type"], error["code"]) == (401, "authentication_error", "invalid_api_key")
    assert guarded.get("/v1/models").status_code == guarded.get("/metrics").status_code == 401
    assert guarded.get("/v1/nothing").status_code == 401
    assert guarded.get("/health").status_code == guarded.get("/ready").status_code == 200
    assert guarded.transcribe(recordings["0.wav"], headers=KEY).json()["text"] == expected["0.wav"].text
    assert "secret" not in guarded.log


def test_a_body_that_is_too_large(guarded):
    large = as_wav(noise(1, 5.0)) * 5
    found = guarded.transcribe(large, headers=KEY)
    assert found.status_code == 413 and found.json()["error"]["code"] == "request_too_large"


def test_a_body_without_a_length_that_is_too_large(guarded):
    """It is refused while it comes; 3 GB are announced by nobody and never held."""
    sent = 0

    def endless():
        nonlocal sent
        yield b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        while sent < 3_000_000_000:
            sent += 1 << 16
            yield bytes(1 << 16)

    headers = {**KEY, "Content-Type": "multipart/form-data; boundary=x"}
    try:
        found = httpx.post(
            f"{guarded.url}/v1/audio/transcriptions", content=endless(), headers=headers, trust_env=False, timeout=60
        )
    except httpx.TransportError:  # the connection was closed before the answer was read
        pass
    else:
        assert found.status_code == 413
    assert sent < 3_000_000_000
    assert guarded.get("/health").status_code == 200


def test_a_recording_that_is_too_long(guarded):
    content = as_wav(noise(1, 7.0), subtype="PCM_16")
    found = guarded.transcribe(content, headers=KEY)
    assert found.status_code == 413 and found.json()["error"]["code"] == "audio_too_long"


def test_a_slow_client(guarded):
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer secret\r\n"
        "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 5000\r\n\r\n--x"
    )
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", guarded.port), timeout=60) as connection:
        connection.sendall(head.encode())
        answer = b""
        while part := connection.recv(4096):
            answer += part
    assert answer.startswith(b"HTTP/1.1 408 ") and b'"request_timeout"' in answer
    assert time.monotonic() - begin >= 1


def test_connections_that_say_nothing(guarded):
    """200 of them, some in the middle of a header: the others are served, and they are closed."""
    silent = [socket.create_connection(("127.0.0.1", guarded.port), timeout=30) for _ in range(200)]
    try:
        for connection in silent[::2]:
            connection.sendall(b"POST /v1/audio/transcriptions HTTP/1.1\r\nHost")
        assert guarded.get("/health").status_code == 200
        assert all(connection.recv(1) == b"" for connection in silent)
    finally:
        for connection in silent:
            connection.close()


def test_the_queue(guarded, recordings, expected):
    """Two are accepted while a batch waits; the others are told to come again, and nothing is lost."""
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda _: guarded.transcribe(recordings["0.wav"], headers=KEY), range(8)))
    statuses = [one.status_code for one in found]
    assert set(statuses) == {200, 429}
    for one in found:
        if one.status_code == 200:
            assert one.json()["text"] == expected["0.wav"].text
        else:
            assert one.json()["error"]["type"] == "rate_limit_error" and int(one.headers["retry-after"]) >= 1
    assert guarded.transcribe(recordings["0.wav"], headers=KEY).status_code == 200


def test_formats_that_need_pyav(guarded):
    for content in (b"\x1a\x45\xdf\xa3" + bytes(2000), b"\0\0\0\x20ftypisom" + bytes(2000)):
        found = guarded.transcribe(content, "a.webm", headers=KEY)
        assert found.status_code == 415
        assert "jasper-tf[formats]" in found.json()["error"]["message"]


def test_origins(guarded):
    asks = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    allowed = httpx.options(f"{guarded.url}/v1/audio/transcriptions", headers=asks, trust_env=False)
    assert allowed.headers["access-control-allow-origin"] == "https://a.example"
    found = guarded.get("/v1/models", headers={"Origin": "https://a.example"})
    assert found.status_code == 401 and found.headers["access-control-allow-origin"] == "https://a.example"
    assert "access-control-allow-origin" not in guarded.get("/health", headers={"Origin": "https://b.example"}).headers


def test_lines_of_json(guarded):
    guarded.get("/health", headers={"X-Request-ID": "json-line"})
    guarded.wait_for(lambda: "json-line" in guarded.log)
    [line] = [json.loads(line) for line in io.StringIO(guarded.log) if "json-line" in line]
    assert (line["path"], line["status"], line["method"]) == ("/health", 200, "GET")


def test_tls(model_folder, tmp_path, recordings, expected):
    certificate, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost".split()
    name = ["-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([*command, *name, "-keyout", key, "-out", certificate], check=True, capture_output=True)
    with LiveServer(model_folder, "--tls-cert", str(certificate), "--tls-key", str(key)) as server:
        assert server.printed.startswith("https://localhost:")
        context = ssl.create_default_context(cafile=certificate)
        url = f"{server.printed}v1/audio/transcriptions"
        found = httpx.post(
            url, files={"file": ("a.wav", recordings["1.wav"])}, verify=context, trust_env=False, timeout=60
        )
        assert found.json()["text"] == expected["1.wav"].text
        assert server.terminate() == 0
