"""From the start to the end of a server."""

import signal
import socket
import subprocess
import sys
import threading
import time

import httpx
import pytest

from tests.serving.http.conftest import silence
from tests.serving.http.live_server import ROOT, LiveServer

pytestmark = pytest.mark.medium


def test_it_listens_before_the_model_is_there(model_folder, recordings):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jasper_tf", "serve", "--model", str(model_folder), "--port", str(port)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        end = time.monotonic() + 60
        while True:
            try:
                alive = httpx.get(f"{url}/health", trust_env=False, timeout=30)
                break
            except httpx.ConnectError:
                assert process.poll() is None and time.monotonic() < end
                time.sleep(0.02)
        assert alive.status_code == 200
        assert httpx.get(f"{url}/ready", trust_env=False, timeout=30).status_code == 503
        files = {"file": ("a.wav", recordings["0.wav"])}
        early = httpx.post(f"{url}/v1/audio/transcriptions", files=files, trust_env=False, timeout=30)
        assert (
            early.status_code == 503 and early.json()["error"]["code"] == "not_ready" and early.headers["retry-after"]
        )
        process.send_signal(signal.SIGTERM)  # nothing was accepted: nothing is waited for
        assert process.wait(30) == 0
        assert process.stdout.read() == b""
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_sigterm_finishes_what_was_accepted(model_folder, recordings, expected):
    sent = {**dict(list(recordings.items())[:4]), "long.flac": silence(600)}
    with LiveServer(model_folder) as server:
        found = {}
        threads = {
            name: threading.Thread(target=lambda name=name: found.update({name: server.transcribe(sent[name])}))
            for name in sent
        }
        threads["long.flac"].start()
        server.wait_for(lambda: server.metric("jasper_queue_length") == 1)
        for name in recordings.keys() & sent:
            threads[name].start()
        server.wait_for(lambda: len(found) == 4 or server.metric("jasper_queue_length") > 1)
        assert server.terminate() == 0
        for thread in threads.values():
            thread.join()
        assert found.pop("long.flac").status_code == 200
        assert {name: one.json()["text"] for name, one in found.items()} == {
            name: expected[name].text for name in found
        }
        assert len(found) == 4 and "Traceback" not in server.log


def test_a_second_signal_ends_it_at_once(model_folder, recordings):
    with LiveServer(model_folder) as server:

        def ask():
            with pytest.raises(httpx.TransportError):
                server.transcribe(silence(2 * 3600))

        thread = threading.Thread(target=ask)
        thread.start()
        server.wait_for(lambda: server.metric("jasper_queue_length") == 1)
        server.process.send_signal(signal.SIGTERM)
        time.sleep(0.5)
        assert server.process.poll() is None
        server.process.send_signal(signal.SIGTERM)
        assert server.process.wait(5) == 128 + signal.SIGTERM
        thread.join()


def test_a_damaged_model_ends_it(tmp_path):
    import zipfile

    with zipfile.ZipFile(tmp_path / "model.keras", "w") as archive:
        archive.writestr("config.json", "{}")
    command = [sys.executable, "-m", "jasper_tf", "serve", "--model", str(tmp_path), "--port", "0"]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert run.returncode == 2 and run.stdout == ""
    assert run.stderr.count("\nerror: ") == 1 and str(tmp_path) in run.stderr
