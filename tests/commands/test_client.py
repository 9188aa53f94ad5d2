"""The verb client, as a user calls it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

pytest.importorskip("tensorflow_serving", reason="needs tensorflow-serving-api")

from jasper_tf.__main__ import main
from jasper_tf.audio.load import load_audio

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Four sounds of other formats and rates, and a file that is no sound."""
    folder = tmp_path_factory.mktemp("client")
    rng = np.random.default_rng(0)
    for name, seconds, rate in (
        ("0.wav", 0.7, 16000),
        ("1.flac", 1.9, 22050),
        ("2.ogg", 0.4, 8000),
        ("3.wav", 1.2, 16000),
    ):
        soundfile.write(folder / name, rng.normal(scale=0.1, size=(int(rate * seconds), 2)), rate)
    (folder / "broken.wav").write_text("this is text")
    return folder


@pytest.fixture(scope="module")
def texts(folder, served_model):
    sounds = sorted(folder.glob("?.*"))
    texts = map(str, served_model.transcribe([load_audio(sound) for sound in sounds]))
    return dict(zip(map(str, sounds), texts, strict=True))


def test_nobody_reads_on(serving, texts, monkeypatch, capfd):
    """As in `client ... | head -1`."""
    read, write = os.pipe()
    os.close(read)
    with open(write, "w", encoding="utf-8") as output:
        monkeypatch.setattr(sys, "stdout", output)
        assert main(["client", "--server", serving.address, *texts]) == 141
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("protocol", ["grpc", "rest"])
def test_lines_in_the_order_given(serving, folder, texts, capfd, protocol):
    address = [serving.address] if protocol == "grpc" else [serving.rest_address, "--rest"]
    files = [*texts, str(folder / "broken.wav"), str(folder / "absent.wav"), *reversed(texts)]
    assert main(["client", "--server", *address, "--concurrency", "3", *files]) == 1
    out, err = capfd.readouterr()
    assert out.splitlines() == [f"{file}\t{texts[file]}" for file in files if file in texts]
    assert [line.partition(" c")[0] for line in err.splitlines()] == [
        f"error: {folder}/broken.wav:",
        f"error: {folder}/absent.wav: no such file",
    ]
    assert serving.requests == 8

    assert main(["client", "--server", *address, "--json", *texts]) == 0
    lines = [json.loads(line) for line in capfd.readouterr().out.splitlines()]
    assert {line["audio_filepath"]: line["text"] for line in lines} == texts
    for line in lines:
        assert [word["text"] for word in line["words"]] == line["text"].split() and 0 < line["confidence"] <= 1
        assert all(set(word) == {"text", "start_s", "end_s", "confidence"} for word in line["words"])


def test_a_long_file_is_cut(serving, folder, capfd):
    file = str(folder / "1.flac")
    assert main(["client", "--server", serving.address, "--chunk-s", "1", "--overlap-s", "0.3", file]) == 0
    assert serving.requests == 3 and capfd.readouterr().out.startswith(f"{file}\t")


def test_one_slow_file_fails_alone(serving, folder, texts, capfd):
    serving.failures = ["INTERNAL"]
    assert main(["client", "--server", serving.address, "--concurrency", "1", *texts]) == 1
    out, err = capfd.readouterr()
    assert [line.partition("\t")[0] for line in out.splitlines()] == list(texts)[1:]
    assert err == f"error: {folder}/0.wav: {serving.address}: INTERNAL: failing as it was told to (INTERNAL)\n"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "other"], "serves no model 'other' "),
        (["--server", "127.0.0.1:9", "--retries", "1"], "127.0.0.1:9: no server answers "),
        (["--server", "127.0.0.1:9", "--rest", "--retries", "0"], "127.0.0.1:9: no server answers "),
    ],
)
def test_what_concerns_all_is_said_once(serving, texts, capfd, options, said):
    assert main(["client", "--server", serving.address, "--concurrency", "1", *options, *texts]) == 1
    out, err = capfd.readouterr()
    assert out == "" and said in err and "(3 more files not sent)" in err and len(err.splitlines()) == 1


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--server", "http://host:8500"], "without http://"),
        (["--server", "host:port"], "the port must be a number"),
        (["--timeout", "0"], "--timeout 0: must be more than 0"),
        (["--retries", "-1"], "--retries -1: must be 0 or more"),
        (["--concurrency", "0"], "--concurrency 0: must be 1 or more"),
        (["--overlap-s", "15"], "--overlap-s 15: must be less than half of --chunk-s 30"),
        (["--chunk-s", "100"], "--chunk-s 100: at 16000 Hz at most 65.5 s fit into --max-message-mb 4"),
        (["--chunk-s", "60", "--rest"], "--chunk-s 60: at 16000 Hz at most 49.1 s"),
    ],
)
def test_wrong_use(folder, capfd, options, said):
    assert main(["client", "--server", "127.0.0.1:9", *options, str(folder / "0.wav")]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: ") and said in err and len(err.splitlines()) == 1


STARTS_FAST = """
import sys
from jasper_tf.__main__ import main
status = main(sys.argv[1:])
assert not {"tensorflow", "tensorflow_serving", "keras"} & set(sys.modules)
sys.exit(status)
"""


def test_it_does_not_wait_for_tensorflow(serving, texts, tmp_path):
    file, text = next(iter(texts.items()))

    def call(*options):
        command = [sys.executable, "-c", STARTS_FAST, "client", *options, file]
        return subprocess.run(command, cwd=ROOT, capture_output=True, text=True)

    done = call("--server", serving.address)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}\t{text}\n", "")
    done = call("--server", serving.rest_address, "--rest")
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{file}\t{text}\n", "")
    (tmp_path / "words.txt").write_text("jasper\n")
    done = call("--server", serving.address, "--hot-words", str(tmp_path / "words.txt"))
    assert done.returncode == 1 and "takes no hot words" in done.stderr
