"""Jobs of many parts: each part is computed once, whoever is killed in between."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from jasper_tf.data.jobs.run_parts import run_parts, work_folder
from jasper_tf.data.jobs.runner import Runner
from jasper_tf.errors import UserError

REPOSITORY = Path(__file__).resolve().parents[3]
NAME = Path(__file__).stem
JOB = {"verb": "test", "options": [1, 2]}


def square(calls: str, kill: bool, part: int) -> int:
    """Records each call; kills its own process at part 5 if `kill` is set."""
    with open(calls, "a") as file:
        file.write(f"{part}\n")
    if kill and part == 5:
        os.kill(os.getpid(), signal.SIGKILL)
    if part == -1:
        raise UserError("part -1 is wrong")
    return part * part


def compute(folder: Path, runner: Runner, kill: bool = False, parts=range(12)) -> list[int]:
    calls = str(folder.parent / "calls")
    with work_folder(folder, "--work-dir", JOB) as place:
        return [one.value for one in run_parts(functools.partial(square, calls, kill), parts, runner, place)]


def calls_of(folder: Path) -> list[int]:
    return sorted(map(int, (folder.parent / "calls").read_text().split()))


@pytest.mark.medium
@pytest.mark.parametrize("engine", [None, "direct"])
def test_a_killed_worker_ends_the_run_and_the_next_one_computes_only_what_is_missing(
    tmp_path, monkeypatch, capfd, engine
):
    if engine:
        pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra beam)")
        monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # of Beam's workers
    folder = tmp_path / "work"
    with pytest.raises(UserError, match="a worker process was ended"):
        compute(folder, Runner(engine, workers=2), kill=True)
    assert "Traceback" not in capfd.readouterr().err
    done = {int(file.stem.rpartition("-")[2]) for file in folder.glob("result-*.json")}
    assert done and 5 not in done
    (tmp_path / "calls").unlink()
    assert compute(folder, Runner(workers=2)) == [n * n for n in range(12)]
    assert calls_of(folder) == sorted(set(range(12)) - done)
    assert not folder.exists()


@pytest.mark.medium
@pytest.mark.parametrize(
    ("engine", "end"), [("", signal.SIGKILL), ("", signal.SIGINT), ("direct", signal.SIGKILL)], ids=str
)
def test_workers_end_with_a_killed_or_interrupted_driver(tmp_path, engine, end):
    if engine:
        pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra beam)")
    script = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler)"  # a shell's jobs ignore it
    driver = subprocess.Popen(
        [sys.executable, "-c", f"{script}; import {NAME}; {NAME}.drive({str(tmp_path)!r}, {engine!r})"],
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), str(Path(__file__).parent)])},
    )
    workers: set[str] = set()
    until = time.monotonic() + 240
    while time.monotonic() < until and len(workers) < 2:
        workers = set((tmp_path / "pids").read_text().split()) if (tmp_path / "pids").exists() else set()
        time.sleep(0.05)
    driver.send_signal(end)
    driver.wait(60)
    while time.monotonic() < until and any(Path("/proc", pid).exists() for pid in workers):
        time.sleep(0.05)
    assert len(workers) == 2 and not any(Path("/proc", pid).exists() for pid in workers)


@pytest.mark.medium
def test_an_error_names_itself_and_its_part_is_tried_again(tmp_path):
    folder = tmp_path / "work"
    for _ in range(2):
        with pytest.raises(UserError, match="part -1 is wrong"):
            compute(folder, Runner(workers=2), parts=[3, -1])
    assert compute(folder, Runner(workers=2), parts=[3, 4]) == [9, 16]
    assert calls_of(folder) == [-1, -1, 3, 4]


def test_a_work_folder_is_of_one_job(tmp_path):
    folder = tmp_path / "work"
    with pytest.raises(KeyboardInterrupt), work_folder(folder, "--work-dir", JOB):
        with pytest.raises(UserError, match="another run works there"), work_folder(folder, "--work-dir", JOB):
            pass
        raise KeyboardInterrupt
    with pytest.raises(UserError, match="another options"), work_folder(folder, "--work-dir", {**JOB, "options": [1]}):
        pass
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "thesis.tex").write_text("years")
    with pytest.raises(UserError, match="thesis.tex"), work_folder(theirs, "--work-dir", JOB):
        pass
    assert (theirs / "thesis.tex").read_text() == "years"


def test_a_work_folder_says_whose_it_is_until_it_is_gone(tmp_path, monkeypatch):
    def killed(folder):
        raise KeyboardInterrupt

    folder = tmp_path / "work"
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt), work_folder(folder, "--work-dir", JOB):
        (folder / "result-000000.json").write_text('{"value": 1}')
        patch.setattr(shutil, "rmtree", killed)
    assert sorted(os.listdir(folder)) == ["job.json", "lock"]
    with work_folder(folder, "--work-dir", JOB):
        pass
    assert not folder.exists()


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_damaged_files_of_a_work_folder_are_named(tmp_path, content):
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "job.json").write_text(content)
    with pytest.raises(UserError, match=r"job\.json: damaged"), work_folder(folder, "--work-dir", JOB):
        pass
    (folder / "result-000000.json").write_text(content)
    with pytest.raises(UserError, match=r"result-000000\.json: damaged"):
        list(run_parts(square, [1], Runner(), folder))


class OtherProgram(Runner):
    """Another program writes into the work folder before the parts are computed."""

    def map(self, function, items, stop):
        [sent] = Path(function.args[0]).parent.glob("parts-*.pickle")
        sent.write_bytes(sent.read_bytes().replace(b"square", b"system"))
        for item in items:
            function(item)


def test_a_changed_pickle_is_not_loaded(tmp_path):
    with pytest.raises(UserError, match="was changed by another program"):
        compute(tmp_path / "work", OtherProgram())
    assert not (tmp_path / "calls").exists()


@pytest.mark.medium
def test_beam_computes_the_same(tmp_path, monkeypatch):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra beam)")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))  # of Beam's workers
    folder = tmp_path / "work"
    assert compute(folder, Runner("direct", workers=2)) == [n * n for n in range(12)]
    assert calls_of(folder) == list(range(12))


@pytest.mark.medium
def test_an_option_that_beam_does_not_know_is_refused(tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra beam)")
    with pytest.raises(UserError, match="--runner-options --nonsense: is no option of Beam") as caught:
        compute(tmp_path / "work", Runner("direct", ["--nonsense=1"]))
    assert caught.value.exit_status == 2


def killed_once(folder: str, part: int) -> int:
    """Kills its own process at part 5, the first time."""
    if part == 5 and not os.path.exists(os.path.join(folder, "killed")):
        Path(folder, "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return square(os.path.join(folder, "calls"), False, part)


@pytest.mark.slow
def test_a_spark_cluster_goes_on_when_a_worker_is_killed(tmp_path, monkeypatch):
    pytest.importorskip("pyspark", reason="PySpark is not installed")
    if shutil.which("java") is None:
        pytest.skip("Spark needs Java")
    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY))
    monkeypatch.setenv("SPARK_LOCAL_IP", "127.0.0.1")
    runner = Runner("spark", ["--master=local-cluster[2,1,512]", "--conf=spark.executor.memory=512m"])
    function = functools.partial(killed_once, str(tmp_path))
    with work_folder(tmp_path / "work", "--work-dir", JOB) as place:
        found = [one.value for one in run_parts(function, range(12), runner, place)]
    assert found == [n * n for n in range(12)] and (tmp_path / "killed").exists()
    assert sorted(set(map(int, (tmp_path / "calls").read_text().split()))) == list(range(12))


def wait_here(folder: str, part: int) -> None:
    with open(os.path.join(folder, "pids"), "a") as file:
        file.write(f"{os.getpid()}\n")
    time.sleep(600)


def drive(folder: str, engine: str) -> None:
    """The driver that is killed."""
    list(run_parts(functools.partial(wait_here, folder), range(4), Runner(engine or None, workers=2), folder))
