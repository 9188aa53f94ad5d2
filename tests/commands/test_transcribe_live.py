"""transcribe --live: piped samples, a terminal, Ctrl-C, wrong use."""

import importlib.util
import io
import json
import os
import re
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import main
from jasper_tf.commands._live import _TextLines
from jasper_tf.decoding.alignment import WordTiming
from jasper_tf.inference.streaming.live_update import LiveUpdate
from jasper_tf.inference.transcriber import Transcriber

ROOT = Path(__file__).parents[2]
SAMPLES = (np.random.default_rng(0).normal(scale=0.1, size=16_000 * 4) * 2**15).clip(-(2**15), 2**15 - 1).astype("<i2")


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(list(" abcdefghijklmnopqrstuvwxyz'"))


@pytest.fixture(scope="module")
def file(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("live") / "model.keras"
    model.save(path)
    return str(path)


def command(file, *arguments):
    return [sys.executable, "-m", "jasper_tf", "transcribe", "--live", "--model", file, *arguments]


def expected(model, *seconds, decoding=None):
    live = Transcriber(model, decoding=decoding).stream(*seconds)
    return [*live.push(SAMPLES), *live.finish()]


@pytest.mark.slow
def test_piped_samples(model, file):
    updates = expected(model)
    lines, line = [], ""
    for one in updates:
        if one.kind == "final":
            line = f"{line} {one.text}".strip()
            if one.endpoint and line:
                lines, line = [*lines, line], ""
    done = subprocess.run(command(file, "-"), input=SAMPLES.tobytes(), cwd=ROOT, capture_output=True, timeout=300)
    assert done.returncode == 0 and done.stdout.decode().splitlines() == lines
    assert b"16000 Hz" in done.stderr and b"3.2 s later" in done.stderr


@pytest.mark.slow
def test_a_piped_wav_as_json_lines(model, file):
    content = io.BytesIO()
    soundfile.write(content, SAMPLES, 16_000, format="WAV", subtype="PCM_16")
    options = ("--format", "json", "--words", "--n-best", "2", "--buffer-s", "1,0.5,0.5", "--endpoint-s", "0", "-")
    done = subprocess.run(command(file, *options), input=content.getvalue(), cwd=ROOT, capture_output=True, timeout=300)
    assert done.returncode == 0 and b"1.0 s later" in done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    decoding = {"strategy": "beam", "beam": {"n_best": 2}}
    assert found == [one.as_json() for one in expected(model, 1.0, 0.5, 0.5, 0, decoding=decoding)]
    assert {one["type"] for one in found} == {"partial", "final"} and len(found[-1]["n_best"]) == 2


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="needs a pseudo-terminal")
def test_ctrl_c_ends_with_the_last_text_on_a_terminal(model, file):
    import pty

    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        command(file, "--sample-rate", "16000", "-"),
        stdin=subprocess.PIPE,
        stdout=theirs,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "60"},
    )
    os.close(theirs)
    shown = b""
    process.stdin.write(SAMPLES.tobytes())  # and no end
    process.stdin.flush()
    stop = threading.Timer(300, process.kill)
    stop.start()
    while b"\x1b[2m" not in shown:  # a partial text
        shown += os.read(ours, 4096)
    process.send_signal(signal.SIGINT)
    try:
        while data := os.read(ours, 4096):
            shown += data
    except OSError:  # Linux: the other side is closed
        pass
    assert process.wait() == 0
    stop.cancel()
    process.stdin.close()
    assert b"Ctrl-C ends" in process.stderr.read()
    rows = [row.rpartition("\x1b[K")[2].strip() for row in shown.decode().split("\n")]
    rows = [re.sub(r"\x1b\[\d*m.*", "", row).strip() for row in rows]
    text = " ".join(one.text for one in expected(model) if one.kind == "final")
    assert "".join(rows).replace(" ", "") == text.replace(" ", "") and max(map(len, rows)) < 60


def test_rows_of_a_terminal(monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", "21")
    monkeypatch.setenv("LINES", "5")

    def update(kind, text, endpoint=False):
        words = [WordTiming(word, 0.0, 1.0, 1.0) for word in text.split()]
        return LiveUpdate.of_words(kind, words, 1.0, endpoint)

    terminal = Terminal()
    show = _TextLines(terminal)
    show([update("final", "one two"), update("partial", "three")])
    assert terminal.getvalue().endswith("\r\x1b[Kone two \x1b[2mthree\x1b[0m")
    show([update("partial", "a text that is longer than a row")])
    *_, before, after = terminal.getvalue().split("\n")
    assert before.endswith("\x1b[Kone two") and after == "\r\x1b[K\x1b[2ma text that is lon…\x1b[0m"
    show([update("final", "three four five six seven", endpoint=True), update("final", "", endpoint=True)])
    show([update("final", "x" * 45), update("final", "y", endpoint=True)])
    rows = [row.rpartition("\x1b[K")[2].strip() for row in terminal.getvalue().split("\n")]
    assert rows == ["one two", "three four five six", "seven", "x" * 20, "x" * 20, "xxxxx y", ""]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--live", "x.wav"], "no live source"),
        (["--live", "--format", "srt", "-"], "--format srt"),
        (["--live", "--format", "text,json", "-"], "text,json"),
        (["--live", "--words", "-"], "--words"),
        (["--live", "--output-dir", "x", "-"], "--output-dir: not with --live"),
        (["--live", "--chunk-s", "0.8", "-"], "--chunk-s: not with --live"),
        (["--live", "--batch-size", "4", "-"], "--batch-size: not with --live"),
        (["--live", "--overwrite", "-"], "--overwrite: not with --live"),
        (["--live", "--workers", "2", "-"], "--workers: not with --live"),
        (["--live", "--runner", "flink", "-"], "--runner: not with --live"),
        (["--live", "--work-dir", "x", "-"], "--work-dir: not with --live"),
        (["--live", "--n-best", "2", "-"], "--n-best needs --format json"),
        (["--live", "--buffer-s", "1,2", "-"], "three numbers"),
        (["--live", "--buffer-s", "a,b,c", "-"], "three numbers"),
        (["--live", "--device", "1", "-"], "--device"),
        (["--live", "--sample-rate", "8000"], "--sample-rate"),
        (["--endpoint-s", "1", "x.wav"], "--endpoint-s: only with --live"),
        (["--buffer-s", "1,1,1", "x.wav"], "--buffer-s: only with --live"),
        (["--live", "-", "-"], "no live source"),
        ([], "no recordings"),
    ],
)
def test_wrong_use(arguments, message, capsys):
    assert main(["transcribe", "--model", "absent.keras", *arguments]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1 and message in err


def test_wrong_use_in_a_process(tmp_path):
    model = tmp_path / "absent.keras"
    done = subprocess.run(command(str(model), "-"), cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 2 and done.stdout == ""
    assert done.stderr.startswith(f"error: {model}") and done.stderr.count("\n") == 1


def test_without_a_microphone(file, capsys, monkeypatch):
    if importlib.util.find_spec("sounddevice"):
        try:
            import sounddevice  # noqa: F401  # fails without PortAudio
        except OSError:
            pass
        else:
            pytest.skip("there is PortAudio, and perhaps a microphone")
    assert main(["transcribe", "--live", "--model", file]) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: a microphone needs ") and err.count("\n") == 1
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["transcribe", "--live", "--model", file]) == 2
    assert "jasper-tf[microphone]" in capsys.readouterr().err
