"""The harness's end of a measurement's process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import IO, Any

WORKER = Path(__file__).with_name("worker.py")


class MeasurementError(Exception):
    """A measurement's process could not do its work; the sentence is its own."""


class Session:
    """A process that has prepared a measurement and waits to be asked for a run.

    Args:
        python: the interpreter.
        file, function, arguments: see `worker.py`.
        log: takes what the process prints.

    Raises:
        MeasurementError: it could not prepare.
    """

    def __init__(self, python: str, file: str, function: str, arguments: dict[str, Any], log: IO):
        self._process = subprocess.Popen(
            [python, str(WORKER), file, function, json.dumps(arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
        )
        try:
            self.versions: dict[str, str] = self._answer()["ready"]
        except MeasurementError:
            self.close()
            raise

    def run(self, arguments: dict[str, Any], least_s: float = 0.0) -> tuple[float, int | None]:
        """Has the work done, short work several times: seconds, and floating point operations where they are known."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(json.dumps({"run": arguments, "least_s": least_s}) + "\n")
            self._process.stdin.flush()
        except BrokenPipeError:
            raise MeasurementError(f"its process ended with status {self._process.wait()}") from None
        answer = self._answer()
        return answer["seconds"], answer["flop"]

    def close(self) -> None:
        """Ends the process."""
        assert self._process.stdin is not None and self._process.stdout is not None
        try:
            self._process.stdin.close()
        except BrokenPipeError:
            pass
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise MeasurementError(f"its process ended with status {self._process.wait()}")
        answer = json.loads(line)
        if "error" in answer:
            raise MeasurementError(answer["error"])
        return answer
