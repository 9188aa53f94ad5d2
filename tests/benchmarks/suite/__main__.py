"""Measures this package, NVIDIA NeMo and PyTorch side by side: `make bench`.

    python -m tests.benchmarks.suite [--only step,ctc] [--check] [--quick]

Every competitor is a process of its own, prepared once and warmed up. In each round they do the work one after the
other, each time another one first, and so does a large matrix multiplication: what else the machine does slows all
alike. The table of docs/benchmarks.md is made from docs/benchmarks.json; lines that are not measured stay.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import importlib.util
import json
import os
import platform
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import IO, Any

from tests.benchmarks.suite.report import ReportError, read_results, summarize, table, worse, write_results
from tests.benchmarks.suite.session import MeasurementError, Session

ROOT = Path(__file__).resolve().parents[3]
LINE_S = 10.0  # rounds of a line
ROUNDS = range(5, 31)
PAUSE_S = 0.1  # threads of the last one that wait for work without sleeping
ABSENT = ("FileNotFoundError", "ModuleNotFoundError")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.suite", description=__doc__.splitlines()[0])
    parser.add_argument("--only", metavar="NAME,...", help="lines by their names, or by the part before the slash")
    parser.add_argument("--check", action="store_true", help="write nothing; status 1 if a number is 10 %% worse")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, whose table is only printed")
    parser.add_argument("--rounds", type=int, help=f"of each line (default: {LINE_S:g} s, {ROUNDS[0]} to {ROUNDS[-1]})")
    parser.add_argument(
        "--nemo-python", default=os.environ.get("NEMO_PYTHON") or ROOT / ".venv-nemo" / "bin" / "python"
    )
    parser.add_argument("--asr-python", default=os.environ.get("ASR_PYTHON", ""), help="of TensorFlowASR")
    parser.add_argument("--lines", default=Path(__file__).with_name("lines.py"), help="what is measured (%(default)s)")
    parser.add_argument("--folder", type=Path, default=ROOT / "docs", help="of benchmarks.json and .md (%(default)s)")
    a = parser.parse_args()
    if a.rounds is not None and a.rounds < 1:
        parser.error(f"--rounds {a.rounds}: at least 1")
    module = _load(Path(a.lines))
    lines = {line.name: line for line in module.lines(a.quick)}
    wanted = a.only.split(",") if a.only else list(lines)
    for name in wanted:
        if not any(_is_part(line, name) for line in lines):
            parser.error(f"--only {name}: no such line; there are {', '.join(lines)}")
    chosen = [line for name, line in lines.items() if any(_is_part(name, part) for part in wanted)]
    pythons = {"": sys.executable}
    environments = {competitor.environment for line in chosen for competitor in line.competitors}
    for name, python, absent in (
        (
            "NeMo",
            a.nemo_python,
            f"no {a.nemo_python}; NeMo and PyTorch are left out. `make nemo-parity` installs them (2 GB)",
        ),
        ("TensorFlowASR", a.asr_python, "TensorFlowASR is left out; ASR_PYTHON names the Python that has it"),
    ):
        if Path(python).is_file():
            pythons[name] = str(python)
        elif name in environments:
            _say(f"note: {absent}")
    try:
        before = read_results(a.folder)
    except ReportError as error:
        parser.error(str(error))

    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # processes and the temporary folder end with it
    rounds = a.rounds or (2 if a.quick else None)
    found: dict[str, Any] = {}
    failed = False
    for name, result in _measure_all(chosen, module.matmul(a.quick), pythons, rounds, 0 if a.quick else module.TURN_S):
        failed = failed or result is None
        if result is None:
            continue
        found[name] = result
        if not (a.quick or a.check):
            merged = before | found
            write_results(a.folder, {line: merged[line] for line in (*lines, *merged) if line in merged})
    got_worse = [] if a.quick else worse(before, found)
    for sentence in got_worse:
        _say(f"worse: {sentence}")
    if a.quick or a.check:
        print(table(found))
    elif found:
        _say(f"written: {a.folder / 'benchmarks.md'}")
    return 1 if failed or (a.check and got_worse) else 0


def _measure_all(
    chosen: list, matmul: Any, pythons: dict[str, str], rounds: int | None, turn_s: float
) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yields the name and the results of each line; None for one that failed, nothing for one that is left out."""
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench"))
        os.environ["BENCH_FOLDER"] = folder
        log = stack.enter_context(open(Path(folder) / "log.txt", "w+"))
        sessions = stack.enter_context(_Sessions(pythons, log))
        for number, line in enumerate(chosen):
            try:
                result = _measure(line, matmul, sessions, rounds, turn_s)
                _say(f"{line.name}: {_summary(result)}")
                yield line.name, result
            except MeasurementError as error:
                is_absent = str(error).startswith(ABSENT)
                _say(f"{'left out' if is_absent else 'error'}: {line.name}: {error}")
                if not is_absent:
                    log.seek(0)
                    _say("".join(log.readlines()[-20:]).rstrip())
                    yield line.name, None
            sessions.keep(matmul, *(chosen[number + 1].competitors if number + 1 < len(chosen) else ()))


def _measure(line: Any, matmul: Any, sessions: _Sessions, rounds: int | None, turn_s: float) -> dict[str, Any]:
    """The line as it is kept; a competitor of others that cannot be prepared is named and left out."""
    here = []
    for competitor in (matmul, *line.competitors):
        if competitor.environment not in sessions.pythons:
            continue
        try:
            sessions.of(competitor)
            here.append(competitor)
        except MeasurementError as error:
            if competitor.ours or competitor is matmul:
                raise
            _say(f"left out: {line.name}, {competitor.name}: {error}")
    seconds: dict[str, list[float]] = {competitor.name: [] for competitor in here}
    flop: dict[str, int] = {}
    began = time.monotonic()
    for number in range(-2, ROUNDS[-1] if rounds is None else rounds):
        if number == -1 and time.monotonic() - began > LINE_S / 4:
            continue  # one round of these is warm-up enough
        if number == 0:
            began = time.monotonic()
        if rounds is None and number >= ROUNDS[0] and time.monotonic() - began > LINE_S:
            break
        for competitor in here[number % len(here) :] + here[: number % len(here)]:
            time.sleep(PAUSE_S if rounds is None else 0)
            took, count = sessions.of(competitor).run(competitor.run, turn_s)
            if number >= 0:
                seconds[competitor.name].append(took)
            if count:
                flop[competitor.name] = count
    # In reverse: the packages that several have are named as ours.
    versions = {name: v for competitor in here[::-1] for name, v in sessions.of(competitor).versions.items()}
    about = {"title": line.title, "audio_s": line.audio_s, "date": f"{datetime.date.today()}", "machine": _machine()}
    ours = {competitor.name for competitor in here if competitor.ours}
    return about | {"versions": versions} | summarize(seconds, flop, ours)


class _Sessions:
    """The processes that are prepared."""

    def __init__(self, pythons: dict[str, str], log: IO):
        self.pythons = pythons
        self._log = log
        self._open: dict[str, Session] = {}

    def of(self, competitor: Any) -> Session:
        key = self._key(competitor)
        if key not in self._open:
            python = self.pythons[competitor.environment]
            self._open[key] = Session(python, competitor.file, competitor.function, competitor.prepare, self._log)
        return self._open[key]

    def keep(self, *competitors: Any) -> None:
        """Ends the processes that none of these uses."""
        kept = {self._key(competitor) for competitor in competitors}
        for key in [key for key in self._open if key not in kept]:
            self._open.pop(key).close()

    def __enter__(self) -> _Sessions:
        return self

    def __exit__(self, *error) -> None:
        self.keep()

    def _key(self, competitor: Any) -> str:
        return json.dumps([competitor.file, competitor.function, competitor.prepare])


def _load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_lines", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def _is_part(name: str, part: str) -> bool:
    return part in (name, name.split("/")[0])


def _summary(line: dict[str, Any]) -> str:
    times = [f"{name} {1000 * time['s']:.4g} ms ±{time['spread']:.0%}" for name, time in line["times"].items()]
    speed = [
        f"{ratio:.2f} x {peer}" for time in line["times"].values() for peer, ratio in time.get("against", {}).items()
    ]
    return ", ".join(times + speed)


def _machine() -> str:
    """Processor, its vector units, and how many of them this process may use."""
    try:
        facts = Path("/proc/cpuinfo").read_text()
    except OSError:
        facts = ""
    name = next((x.split(":", 1)[1].strip() for x in facts.splitlines() if x.startswith("model name")), None)
    units = {"avx512f": "AVX-512", "avx512_bf16": "AVX-512 BF16", "amx_bf16": "AMX BF16"}
    flags = [shown for flag, shown in units.items() if f" {flag} " in facts]
    count = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    listed = f" ({', '.join(flags)})" if flags else ""
    return f"{name or platform.processor() or platform.machine()}{listed}, {count} processors"


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
