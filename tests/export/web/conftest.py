"""A web server for static files in a process of its own, pages of small models, and Chromium."""

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.export.edge.writer import export_edge
from jasper_tf.export.web.onnxruntime_web import PACKAGE
from tests.serving.http.conftest import LABELS, noise


class StaticServer:
    """Serves a folder as `python -m http.server` does; `log` has a line for each request."""

    def __init__(self, folder: Path):
        command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory", str(folder)]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{self.process.stdout.readline().partition(' port ')[2].split()[0]}"
        self.log: list[str] = []
        self._reader = threading.Thread(target=lambda: self.log.extend(self.process.stderr), daemon=True)
        self._reader.start()

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()


@pytest.fixture(scope="session")
def archive(tmp_path_factory) -> Path:
    """onnxruntime-web as npm packs it."""
    folder = tmp_path_factory.mktemp("npm")
    if shutil.which("npm") is None:
        pytest.skip("npm is not installed")
    command = ["npm", "pack", PACKAGE, "--prefer-offline", "--silent", "--pack-destination", str(folder)]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"npm does not bring {PACKAGE}: {done.stderr.strip()[:200]}")
    return next(folder.glob("*.tgz"))


@pytest.fixture(scope="session")
def web_model(untrained_model):
    return untrained_model(LABELS)


@pytest.fixture(scope="session")
def site(web_model, archive, tmp_path_factory) -> Path:
    """A folder of a web server with the page of `web_model` in `speech/page`."""
    folder = tmp_path_factory.mktemp("site")
    export_edge(web_model, folder / "speech" / "page", "web", onnxruntime_web=str(archive), say=lambda line: None)
    return folder


@pytest.fixture(scope="session")
def static_server(site):
    server = StaticServer(site)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def microphone(tmp_path_factory) -> Path:
    """What the fake microphone plays: 2.4 s of noise, then silence."""
    file = tmp_path_factory.mktemp("microphone") / "noise.wav"
    soundfile.write(file, np.concatenate([noise(31, 2.4), np.zeros(480_000, np.float32)]), 16000, subtype="PCM_16")
    return file


@pytest.fixture(scope="module")  # Playwright's event loop runs as long as it does, and other modules have their own
def chromium(microphone):
    sync_api = pytest.importorskip("playwright.sync_api", reason="needs playwright")
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        pytest.skip("no Chromium is installed; apt-get install chromium")
    arguments = [
        "--no-sandbox",
        "--use-fake-ui-for-media-stream",
        "--use-fake-device-for-media-stream",
        f"--use-file-for-fake-audio-capture={microphone}%noloop",
    ]
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=arguments)
        yield browser
        browser.close()
