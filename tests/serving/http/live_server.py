"""A `jasper-tf serve` in a process of its own, for tests and benchmarks."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx

ROOT = Path(__file__).parents[3]
_START_S = 120


class LiveServer:
    """Starts the command on a free port; ends it when the context does.

    Args:
        model: folder or file.
        options: of the command.
        environment: in addition to that of the tests.

    Attributes:
        url: `http://127.0.0.1:PORT`, once it is ready.
    """

    def __init__(self, model: Path, *options: str, environment: dict[str, str] | None = None):
        self._command = [sys.executable, "-m", "jasper_tf", "serve", "--model", str(model), "--port", "0", *options]
        self._environment = {**os.environ, **(environment or {})}
        self.url = ""
        self._log: list[str] = []

    def __enter__(self) -> "LiveServer":
        self.process = subprocess.Popen(
            self._command,
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._reader = threading.Thread(target=lambda: self._log.extend(self.process.stderr), daemon=True)
        self._reader.start()
        timer = threading.Timer(_START_S, self.process.kill)
        timer.start()
        line = self.process.stdout.readline()
        timer.cancel()
        if not line:
            self.process.wait()
            raise RuntimeError(f"the server ended: {self.log}")
        self.printed = line.strip()
        self.url = self.printed.rstrip("/").replace("localhost", "127.0.0.1")
        return self

    def __exit__(self, *error) -> None:
        self.process.kill()
        self.process.wait()
        self._reader.join()
        self.process.stdout.close()
        self.process.stderr.close()

    @property
    def log(self) -> str:
        """What it wrote on stderr."""
        return "".join(self._log)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    def terminate(self) -> int:
        """Sends SIGTERM, waits for the end and returns the exit status."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)

    def get(self, path: str, **arguments) -> httpx.Response:
        return httpx.get(self.url + path, trust_env=False, timeout=60, **arguments)

    def transcribe(self, content: bytes, name: str = "a.wav", headers=None, **fields) -> httpx.Response:
        """Posts a recording to the transcriptions."""
        return httpx.post(
            f"{self.url}/v1/audio/transcriptions",
            files={"file": (name, content)},
            data=fields,
            headers=headers,
            trust_env=False,
            timeout=120,
        )

    def metric(self, name: str) -> float:
        """The sum of a figure's samples, whatever their labels."""
        lines = self.get("/metrics").text.splitlines()
        return sum(float(line.rpartition(" ")[2]) for line in lines if line.split("{")[0].split(" ")[0] == name)

    def wait_for(self, condition, seconds: float = 30.0) -> None:
        """Waits until a condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, "it does not come"
            time.sleep(0.02)
