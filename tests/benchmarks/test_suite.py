"""The harness of `make bench`, on measurements that sleep."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]
WORK = """
import os, time

def sleep(name):
    def run(rounds="given"):
        time.sleep(float(os.environ[name]))
    run.flop = lambda rounds: 1000
    return run

def absent():
    import no_such_package

def broken():
    print("this is no answer")
    def run():
        raise ValueError("not to be divided")
    return run
"""
LINES = """
from pathlib import Path
from tests.benchmarks.suite.lines import Competitor, Line

TURN_S = 0.02

def slept(name, variable, **options):
    run = {{"rounds": 1}}
    return Competitor(name, "sleep", {{"name": variable}}, run, file={file!r}, **options)

def matmul(quick):
    return slept("matmul", "PEAK")

def lines(quick):
    ours, peer = slept("jasper_tf", "OURS"), slept("other", "PEER")
    absent = Competitor("other", "absent", file={file!r})
    return [
        Line("step/small", "a step", (ours, peer), 2.0),
        Line("step/alone", "a step alone", (ours,)),
        Line("packages", "absent", (ours, absent, slept("NeMo", "PEER", environment="NeMo"))),
        Line("broken", "broken", (Competitor("jasper_tf", "broken", file={file!r}),)),
    ]
"""


@pytest.fixture
def bench(tmp_path):
    """`bench(*arguments, peak=, ours=, peer=)`: the harness as a command, with the seconds that each of them sleeps."""
    work = tmp_path / "sleeping.py"
    work.write_text(WORK)
    (tmp_path / "lines.py").write_text(LINES.format(file=str(work)))
    (tmp_path / "benchmarks.md").write_text("# Before\n<!-- make bench: begin -->\n<!-- make bench: end -->\nAfter\n")

    def bench(*arguments: str, peak=0.01, ours=0.01, peer=0.02):
        command = [sys.executable, "-m", "tests.benchmarks.suite", "--lines", tmp_path / "lines.py"]
        seconds = {"PEAK": str(peak), "OURS": str(ours), "PEER": str(peer)}
        return subprocess.run(
            [*command, "--folder", tmp_path, "--rounds", "3", "--nemo-python", tmp_path / "no_python", *arguments],
            cwd=REPOSITORY,
            env=os.environ | seconds,
            capture_output=True,
            text=True,
        )

    return bench


def test_lines_are_measured_side_by_side_and_written(bench, tmp_path):
    done = bench("--only", "step")
    assert done.returncode == 0, done.stderr
    kept = json.loads((tmp_path / "benchmarks.json").read_text())
    assert list(kept) == ["step/small", "step/alone"]
    ours, peer = (kept["step/small"]["times"][name] for name in ("jasper_tf", "other"))
    assert 0.01 <= ours["s"] and 0.02 <= peer["s"]
    assert ours["against"]["other"] > 1 and "against" not in peer
    assert kept["step/small"]["rounds"] == 3
    page = (tmp_path / "benchmarks.md").read_text()
    assert page.startswith("# Before\n<!--") and page.endswith("-->\nAfter\n")
    assert "| `step/small`: a step | jasper_tf |" in page
    # A part of the lines: the other stays as it was.
    assert bench("--only", "step/alone", ours=0.02).returncode == 0
    again = json.loads((tmp_path / "benchmarks.json").read_text())
    assert again["step/small"] == kept["step/small"] and again["step/alone"] != kept["step/alone"]


def test_a_number_that_gets_worse_is_named(bench, tmp_path):
    assert bench("--only", "step", ours=0.02, peer=0.04, peak=0.02).returncode == 0
    kept = (tmp_path / "benchmarks.json").read_bytes()
    # A slower machine: all take three times as long.
    slower = bench("--only", "step", "--check", ours=0.06, peer=0.12, peak=0.06)
    assert slower.returncode == 0, slower.stderr
    worse = bench("--only", "step", "--check", ours=0.06, peer=0.04, peak=0.02)
    assert worse.returncode == 1
    named = [line.split(":")[1].strip() for line in worse.stderr.splitlines() if line.startswith("worse: ")]
    assert named == ["step/small", "step/alone"] and "Z80" not in worse.stderr
    assert (tmp_path / "benchmarks.json").read_bytes() == kept
    results = json.loads(kept)
    machines = {name: line | {"machine": "Z80"} for name, line in results.items()}
    (tmp_path / "benchmarks.json").write_text(json.dumps(machines))
    worse = bench("--only", "step", "--check", ours=0.06, peer=0.04, peak=0.02)
    assert worse.returncode == 1 and worse.stderr.count("another processor, Z80") == 2


def test_what_cannot_be_measured(bench, tmp_path):
    done = bench("--only", "packages")
    assert done.returncode == 0
    assert "no_python" in done.stderr and "make nemo-parity" in done.stderr and "no_such_package" in done.stderr
    assert list(json.loads((tmp_path / "benchmarks.json").read_text())["packages"]["times"]) == ["jasper_tf"]
    done = bench("--only", "broken")
    assert done.returncode == 1 and "not to be divided" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--only", "stp"], "step/small"),
        (["--rounds", "0"], "--rounds"),
        (["--folder", "{damaged}"], "benchmarks.json"),
    ],
)
def test_wrong_use(bench, tmp_path, arguments, named):
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "benchmarks.json").write_text("{")
    done = bench(*(argument.format(damaged=damaged) for argument in arguments))
    assert done.returncode == 2 and named in done.stderr and "Traceback" not in done.stderr


@pytest.mark.slow
def test_a_line_of_the_table_in_tiny(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "tests.benchmarks.suite", "--quick", "--only", "step/quartznet"]
        + ["--folder", tmp_path, "--nemo-python", tmp_path / "no_python"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "tiny.yaml`, 1 x 1 s, U 5 | jasper_tf |" in done.stdout and not list(tmp_path.iterdir())


def test_a_page_without_its_marks(bench, tmp_path):
    (tmp_path / "benchmarks.md").write_text("# Before\n")
    done = bench("--only", "step/alone")
    assert done.returncode == 2 and "benchmarks.md" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "benchmarks.json").exists()
