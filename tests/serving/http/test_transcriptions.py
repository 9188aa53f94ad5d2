"""Transcriptions by curl and httpx: our own fields, wrong use, and many requests at once."""

import json
import os
import shutil
import socket
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor

import httpx
import numpy as np
import pytest

from tests.audio.encode_media import encode_media
from tests.serving.http.conftest import as_wav, noise

pytestmark = pytest.mark.medium


@pytest.fixture(scope="module")
def curl(server, recordings, tmp_path_factory):
    """`curl("0.wav", "field=value", ...)`: status and body."""
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    folder = tmp_path_factory.mktemp("curl")
    for name, content in recordings.items():
        (folder / name).write_bytes(content)

    def curl(name, *fields):
        options = [option for field in (f"file=@{folder / name}", *fields) for option in ("-F", field)]
        command = ["curl", "-s", "--noproxy", "*", "-w", "\n%{http_code}", *options]
        run = subprocess.run([*command, f"{server.url}/v1/audio/transcriptions"], capture_output=True, check=True)
        body, _, status = run.stdout.decode().rpartition("\n")
        return int(status), body

    return curl


def test_curl(curl, expected):
    status, body = curl("2.wav", "model=whisper-1", "response_format=json")
    assert status == 200 and json.loads(body)["text"] == expected["2.wav"].text
    assert curl("2.wav", "response_format=text") == (200, expected["2.wav"].text + "\n")
    status, body = curl("2.wav", "stream=true")
    assert status == 200
    events = [json.loads(line.removeprefix("data: ")) for line in body.splitlines() if line]
    assert events[-1]["text"] == expected["2.wav"].text


def test_formats_of_files(server, http_model):
    samples = noise(20, 1.3)
    for form, subtype in (("FLAC", "PCM_16"), ("OGG", "VORBIS"), ("MP3", "MPEG_LAYER_III")):
        content = as_wav(samples, subtype=subtype, form=form)
        assert server.transcribe(content, "a").json()["text"] == http_model.transcribe(content).text
    for rate in (8000, 44100):
        content = as_wav(samples, rate)
        assert server.transcribe(content).json()["text"] == http_model.transcribe(content).text


def test_a_film(server, http_model):
    pytest.importorskip("av", reason="needs PyAV")
    content = encode_media("a.webm", noise(21, 1.3), 16000)
    assert server.transcribe(content, "a.webm").json()["text"] == http_model.transcribe(content).text


def test_each_of_many_gets_its_own(server, recordings, expected):
    """64 requests at once, plain and with a beam, of one file each."""
    beam = server.transcribe(recordings["0.wav"], n_best=2).json()["text"]
    jobs = [(name, {}) for name in recordings for _ in range(7)] + [("0.wav", {"n_best": 2})] * 8
    order = np.random.default_rng(0).permutation(len(jobs))

    def one(k):
        name, fields = jobs[k]
        found = server.transcribe(recordings[name], name, **fields)
        assert found.status_code == 200
        return found.json()["text"] == (beam if fields else expected[name].text)

    with ThreadPoolExecutor(64) as pool:
        assert all(pool.map(one, order))
    assert server.metric("jasper_batch_size_sum") > server.metric("jasper_batch_size_count")


@pytest.mark.parametrize(
    ("name", "content", "status", "code"),
    [
        ("notes.txt", b"these are words, not sound\n" * 20, 415, "not_audio"),
        ("page.wav", b"<html></html>", 415, "not_audio"),
        ("empty.wav", b"", 400, "empty"),
        ("header.wav", as_wav(np.zeros(0, np.float32)), 400, "empty"),
        ("nan.wav", as_wav(np.full(8000, np.nan, np.float32)), 400, "values"),
        ("rate.wav", as_wav(noise(1, 0.5), 500), 400, "rate"),
        ("cut.wav", as_wav(noise(1, 0.5))[:9000], 400, "cut"),
    ],
    ids=["text", "page", "empty", "header", "nan", "rate", "cut"],  # a WAV file of floats holds the time of its making
)
def test_unusable_files(server, name, content, status, code):
    found = server.transcribe(content, name)
    error = found.json()["error"]
    assert (found.status_code, error["code"], error["param"]) == (status, code, "file")
    assert error["type"] == "invalid_request_error"
    assert name in error["message"] and "/tmp" not in error["message"] and "remove" not in error["message"]
    assert error["message"].split()[-1] not in ("repair", "correct")  # what, is missing


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"response_formt": "json"}, "response_formt"),
        ({"response_format": "xml"}, "response_format"),
        ({"temperature": "2"}, "temperature"),
        ({"temperature": "nan"}, "temperature"),
        ({"stream": "perhaps"}, "stream"),
        ({"stream": "true", "response_format": "srt"}, "stream"),
        ({"timestamp_granularities[]": "word"}, "timestamp_granularities"),
        ({"response_format": "verbose_json", "timestamp_granularities[]": "letter"}, "timestamp_granularities"),
        ({"include[]": "everything"}, "include"),
        ({"n_best": "0"}, "n_best"),
        ({"n_best": "many"}, "n_best"),
        ({"n_best": "1.5"}, "n_best"),
        ({"n_best": "99"}, "decoding"),
        ({"decoding": "{bad json"}, "decoding"),
        ({"decoding": "fast"}, "decoding"),
        ({"decoding": '{"strategie": "beam"}'}, "decoding"),
        ({"decoding": '{"beam": {"beam_size": 4}}'}, "decoding"),
        ({"decoding": "strategy=beam\nbeam.beam_size=9999"}, "decoding"),
        ({"decoding": "strategy=beam\nbeam.beam_size=500"}, "decoding"),
        ({"decoding": "strategy=beam\nbeam.ngram_lm_model=/etc/passwd"}, "decoding"),
        ({"decoding": "strategy=beam\nbeam.hot_words=/etc/passwd"}, "decoding"),
        ({"hot_words": "café"}, "hot_words"),
        ({"hot_words": "{bad json"}, "hot_words"),
        ({"hot_words": '{"word": "much"}'}, "hot_words"),
        ({"hot_words[word]": "much"}, "hot_words"),
        ({"hot_words": "word", "decoding": "strategy=greedy"}, "hot_words"),
        ({"hot_word_weight": "3"}, "hot_word_weight"),
    ],
)
def test_wrong_fields(server, recordings, fields, param):
    found = server.transcribe(recordings["0.wav"], **fields)
    error = found.json()["error"]
    assert (found.status_code, error["type"], error["param"]) == (400, "invalid_request_error", param)
    assert "command line" not in error["message"]


def test_wrong_requests(server):
    def post(**arguments):
        found = httpx.post(f"{server.url}/v1/audio/transcriptions", trust_env=False, **arguments)
        return found.status_code, found.json()["error"]["code"]

    assert post(json={"file": "a"}) == (415, "unsupported_content_type")
    assert post(files={"other": ("a", b"a")}) == (400, "unknown_parameter")
    assert post(files={"model": (None, b"a")}) == (400, "missing_parameter")
    assert post(files={"file": (None, b"a")}) == (400, "invalid_value")
    assert post(files=[("file", ("a", b"a")), ("file", ("b", b"b"))])[0] == 400
    broken = {"content-type": "multipart/form-data; boundary=x"}
    assert post(content=b"--x\r\ngarbage", headers=broken)[0] == 400
    assert post(content=b"", headers={"content-type": "multipart/form-data"})[0] == 400


def test_unknown_addresses_and_methods(server):
    for found, status in (
        (server.get("/v1/nothing"), 404),
        (server.get("/v1/audio/transcriptions"), 405),
        (httpx.post(f"{server.url}/v1/models", trust_env=False), 405),
    ):
        assert found.status_code == status
        assert set(found.json()["error"]) == {"message", "type", "param", "code"}


def test_request_ids(server):
    assert server.get("/health", headers={"X-Request-ID": "mine-1"}).headers["x-request-id"] == "mine-1"
    made = {server.get("/health").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2
    assert "two lines" not in server.get("/health", headers={"X-Request-ID": "two lines"}).headers["x-request-id"]
    server.wait_for(lambda: "mine-1" in server.log)
    [line] = [line for line in server.log.splitlines() if "mine-1" in line]
    assert line.split()[:4] == ["127.0.0.1", "GET", "/health", "200"]


def test_metrics(server, recordings, expected):
    before = server.metric("jasper_audio_seconds_total"), server.metric("jasper_request_seconds_count")
    server.transcribe(recordings["1.wav"])
    assert server.metric("jasper_audio_seconds_total") - before[0] == pytest.approx(1.1, abs=1e-3)
    assert server.metric("jasper_request_seconds_count") > before[1]
    assert server.metric("jasper_queue_length") == 0 and server.metric("jasper_ready") == 1


def test_ready(server):
    assert server.printed == f"http://localhost:{server.port}/"
    server.wait_for(lambda: "\nready after " in server.log)
    assert server.log.startswith("loading ")
    assert server.get("/ready").status_code == server.get("/health").status_code == 200


def test_no_file_stays_open(server, recordings):
    """After good and bad recordings, streams and refused fields."""
    if not os.path.isdir("/proc/self/fd"):
        pytest.skip("needs /proc")

    def count():
        return len(os.listdir(f"/proc/{server.process.pid}/fd"))

    server.transcribe(recordings["0.wav"])
    before = count()
    large = as_wav(noise(1, 30.0))  # 1.9 MB: on disk
    for _ in range(10):
        server.transcribe(large, stream="true")
        server.transcribe(large, unknown="1")
        server.transcribe(b"no sound")
        server.transcribe(recordings["0.wav"], n_best="x")
    server.wait_for(lambda: count() <= before + 4)


def test_clients_that_vanish(server, recordings, expected):
    """Some close while they send, some while they wait; the queue is empty afterwards and others are served."""
    before = server.metric("jasper_canceled_total")
    body = (
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\n'
        + as_wav(np.tile(noise(60, 30.0), 20), subtype="PCM_16")  # it takes longer than to leave
        + b"\r\n--x--\r\n"
    )
    head = (
        "POST /v1/audio/transcriptions HTTP/1.1\r\nHost: a\r\nContent-Type: multipart/form-data; boundary=x\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    ).encode()

    def leave(sent):
        with socket.create_connection(("127.0.0.1", server.port)) as connection:
            connection.sendall((head + body)[:sent])
            if sent >= len(head) + len(body):
                server.wait_for(lambda: server.metric("jasper_queue_length") > 0)

    threads = [threading.Thread(target=leave, args=(n,)) for n in (5, 100, 50_000, 10**9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    server.wait_for(lambda: server.metric("jasper_queue_length") == 0)
    assert server.metric("jasper_canceled_total") == before + 1
    assert server.transcribe(recordings["3.wav"]).json()["text"] == expected["3.wav"].text
    assert "Traceback" not in server.log
