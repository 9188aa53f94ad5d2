"""--runner and --workers: the bytes of one process, whatever computes the parts."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import main

REPOSITORY = Path(__file__).resolve().parents[2]


def jasper(*arguments, **options) -> subprocess.CompletedProcess:
    command = [sys.executable, "-m", "jasper_tf", *map(str, arguments)]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False, **options)


def content(folder: Path) -> dict[str, bytes]:
    files = [file for file in folder.rglob("*") if file.is_file() and not file.name.startswith(".writing-")]
    return {str(file.relative_to(folder)): file.read_bytes() for file in files}


@pytest.fixture(scope="module")
def corpus(spoken_corpus, tmp_path_factory) -> Path:
    """2,100 lines, three parts: the spoken corpus again and again, with a recording that is none."""
    folder = tmp_path_factory.mktemp("corpus")
    lines = [json.loads(line) for line in (spoken_corpus / "train.jsonl").read_text().splitlines()]
    for line in lines:
        line["audio_filepath"] = str(spoken_corpus / line["audio_filepath"])
    (folder / "bad.wav").write_bytes(b"RIFF, but no more")
    lines = [lines[i % len(lines)] for i in range(2100)]
    lines[700] = {"audio_filepath": str(folder / "bad.wav"), "duration": 1.0, "text": "one"}
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "few.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines[640:940]))
    return folder


@pytest.fixture(scope="module")
def model(untrained_model, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("model") / "model.keras"
    untrained_model(" abcdefghijklmnopqrstuvwxyz'").save(path)
    return path


def runs_of(corpus: Path, model: Path, folder: Path, verb: str) -> list:
    """A command's arguments, with outputs in `folder`."""
    if verb == "check":
        return ["check", "--manifest", corpus / "m.jsonl", "--audio", "--list", folder / "list.jsonl"]
    if verb == "shard":
        small = ["--shard-size", "1", "--on-bad-audio", "skip"]
        return ["shard", "--manifest", corpus / "m.jsonl", "--output", folder, *small]
    if verb == "align":
        return [
            "align",
            "--model",
            model,
            "--manifest",
            corpus / "few.jsonl",
            "--output",
            folder,
            "--format",
            "json,ctm",
        ]
    return ["transcribe", "--model", model, corpus / "few.jsonl", "--format", "json", "--words"]


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["check", "shard", "transcribe", "align"])
def test_every_runner_gives_the_bytes_of_one_process(corpus, model, tmp_path, verb):
    wanted, ways = None, {"one": ["--workers", "1"], "two": ["--workers", "2"]}
    try:
        import apache_beam  # noqa: F401  # an extra
    except ImportError:
        pass
    else:
        ways["beam"] = ["--workers", "2", "--runner", "direct"]
    for name, options in ways.items():
        folder = tmp_path / name
        folder.mkdir()
        if name == "beam" and verb in ("check", "transcribe"):
            options = [*options, "--work-dir", tmp_path / "work"]
        done = jasper(*runs_of(corpus, model, folder, verb), *options)
        stdout = done.stdout.replace(str(folder), "FOLDER")
        found = done.returncode, stdout, content(folder)
        assert wanted in (None, found), done.stderr
        wanted = found
        assert verb == "check" or str(corpus / "bad.wav") in done.stderr
    assert wanted[0] == (0 if verb == "shard" else 1) and not (tmp_path / "work").exists()


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["check", "shard"])
def test_after_sigkill_the_same_command_computes_only_the_rest(corpus, model, tmp_path, verb):
    one, two = tmp_path / "one", tmp_path / "two"
    one.mkdir()
    two.mkdir()
    work = ["--work-dir", tmp_path / "work"] if verb == "check" else []
    place = tmp_path / "work" / "0" if verb == "check" else two / ".unfinished"
    expected = jasper(*runs_of(corpus, model, one, verb))
    command = [
        sys.executable,
        "-m",
        "jasper_tf",
        *map(str, [*runs_of(corpus, model, two, verb), "--workers", "1", *work]),
    ]
    driver = subprocess.Popen(command, env={**os.environ, "PYTHONPATH": str(REPOSITORY)}, stderr=subprocess.DEVNULL)
    while driver.poll() is None and not (place.is_dir() and list(place.glob("result-*.json"))):
        time.sleep(0.002)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    numbers = [int(file.stem.rpartition("-")[2]) for file in place.glob("result-*.json")]
    kept = {file: file.stat().st_mtime_ns for file in two.glob("shard-*.tfrecord") if int(file.name[6:11]) in numbers}
    assert numbers and driver.returncode == -signal.SIGKILL
    done = jasper(*runs_of(corpus, model, two, verb), "--workers", "1", *work)
    assert done.returncode == expected.returncode, done.stderr
    assert content(two) == content(one)
    if verb == "shard":
        assert done.stderr.count("kept, was finished before") == len(numbers)
        assert kept == {file: file.stat().st_mtime_ns for file in kept}


@pytest.mark.slow
def test_ten_thousand_files(model, tmp_path):
    recordings = np.random.default_rng(0).normal(0, 0.1, (16, 4000))
    (tmp_path / "all").mkdir()
    for number in range(10_000):
        first = tmp_path / f"{number % 16}.wav"
        if number < 16:
            soundfile.write(first, recordings[number], 16000)
        os.link(first, tmp_path / f"all/{number:05d}.wav")
    done = jasper("transcribe", "--model", model, tmp_path / "all", "--format", "json", "--workers", "2")
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert [Path(one["audio_filepath"]).stem for one in found] == [f"{number:05d}" for number in range(10_000)]
    assert len({one["text"] for one in found}) > 8
    assert all(one["text"] == found[number % 16]["text"] for number, one in enumerate(found))


def test_options_that_do_not_go_together(corpus, tmp_path, capsys):
    check = ["check", "--manifest", str(corpus / "few.jsonl")]
    shard = ["shard", "--manifest", str(corpus / "few.jsonl"), "--output", str(tmp_path / "out")]
    work = ["--work-dir", str(tmp_path / "work")]
    for arguments, word in (
        ([*check, "--runner", "direct", *work], "--audio"),
        ([*check, "--audio", "--runner", "direct"], "--work-dir"),
        ([*check, "--audio", "--workers", "0"], "--workers 0"),
        ([*shard, "--runner", "flink", "--workers", "3"], "--runner-options"),
        ([*shard, "--runner-options", "--parallelism=4"], "--runner"),
        ([*shard, "--runner", "flink", "--runner-options", "--runner=Other"], "--runner=Other"),
        ([*shard, "--runner", "flink", "--runner-options", "'"], "quotes"),
        ([*shard, "--runner", "flink", "--runner-options", "parallelism=4"], "--parallelism=4"),
        (["shard", "--output", str(tmp_path), "--verify", "--runner", "flink"], "--verify"),
    ):
        assert main(arguments) == 2, arguments
        out, err = capsys.readouterr()
        assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and word in err, err


@pytest.mark.parametrize("options", [["--work-dir", "work"], ["--workers", "2"], ["--workers", "1"]])
def test_only_an_interrupted_run_of_parts_may_replace_outputs(tmp_path, monkeypatch, capsys, options):
    """An empty work folder is no such run; a run without parts does not go on with one that had some."""
    monkeypatch.chdir(tmp_path)
    soundfile.write("a.wav", np.zeros(1600), 16000)
    Path("model.keras").write_bytes(b"PK\x03\x04")
    for folder in ("work", "out", "out/.unfinished"):
        Path(folder).mkdir()
    if options == ["--workers", "1"]:
        Path("out/.unfinished/job.json").write_text("{}")
    Path("out/a.txt").write_text("corrected by hand")
    assert main(["transcribe", "a.wav", "--model", "model.keras", "--output-dir", "out", *options]) == 2
    assert "out/a.txt: exists already" in capsys.readouterr().err


@pytest.mark.medium
def test_an_engine_that_is_not_there(corpus, tmp_path, monkeypatch):
    # A module without content stands for a package that is not installed.
    for name in ("apache_beam", "pyspark"):
        (tmp_path / f"{name}.py").write_text("raise ImportError\n")
    for engine, install in (("flink", "jasper-tf[beam]"), ("spark", "pip install pyspark")):
        arguments = ["shard", "--manifest", corpus / "few.jsonl", "--output", tmp_path / engine, "--runner", engine]
        command = [sys.executable, "-m", "jasper_tf", *map(str, arguments)]
        path = f"{tmp_path}{os.pathsep}{REPOSITORY}"
        done = subprocess.run(
            command, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 2 and install in done.stderr and done.stderr.count("\n") == 1, done.stderr


@pytest.mark.slow
def test_a_job_service_that_does_not_answer(corpus, tmp_path):
    pytest.importorskip("apache_beam", reason="Apache Beam is not installed (extra beam)")
    options = "--job_endpoint=127.0.0.1:9 --job_server_timeout=2"
    arguments = ["--manifest", corpus / "few.jsonl", "--output", tmp_path / "out", "--runner", "flink"]
    done = jasper("shard", *arguments, "--runner-options", options)
    assert done.returncode == 1 and "--runner flink" in done.stderr and "Traceback" not in done.stderr, done.stderr
