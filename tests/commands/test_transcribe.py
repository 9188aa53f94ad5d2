"""The verb transcribe: formats, files to write, kinds of input."""

import io
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import main
from jasper_tf.audio.load import load_audio
from jasper_tf.inference.subtitles import FORMATS, format_transcript, suffix_of
from tests.audio.encode_media import encode_media

ROOT = Path(__file__).parents[2]
LABELS = list(" abcdefghijklmnopqrstuvwxyz'")


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(LABELS)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """run/model.keras, and sounds: one.wav, two.wav, more/one.flac, film.mp4."""
    folder = tmp_path_factory.mktemp("transcribe")
    (folder / "run").mkdir()
    (folder / "sounds" / "more").mkdir(parents=True)
    model.save(folder / "run" / "model.keras")
    rng = np.random.default_rng(0)
    for name, seconds in (("one.wav", 0.7), ("two.wav", 1.9), ("more/one.flac", 1.2)):
        soundfile.write(folder / "sounds" / name, rng.normal(scale=0.1, size=int(16000 * seconds)), 16000)
    sound = rng.normal(scale=0.1, size=16000)
    (folder / "sounds" / "film.mp4").write_bytes(encode_media("a.mp4", sound, 16000))
    return folder


@pytest.fixture
def transcribe(folder, monkeypatch, capfd):
    """`transcribe(*arguments)`: exit status, stdout, stderr without the progress of Keras."""
    monkeypatch.chdir(folder / "sounds")

    def transcribe(*arguments):
        capfd.readouterr()
        status = main(["transcribe", "--model", str(folder / "run"), *map(str, arguments)])
        out, err = capfd.readouterr()
        return status, out, err

    return transcribe


SOUNDS = ("film.mp4", "more/one.flac", "one.wav", "two.wav")


def test_a_folder_with_a_film(transcribe, model):
    status, out, err = transcribe(".")
    texts = model.transcribe([load_audio(name) for name in SOUNDS], batch_size=1)
    assert (status, err) == (0, "")
    assert out.splitlines() == [f"./{name}\t{text}" for name, text in zip(SOUNDS, texts, strict=True)]
    assert transcribe("**/*.*") == (0, out.replace("./", ""), "")


def test_json_is_an_object_a_line(transcribe, model, tmp_path):
    lines = [
        {"audio_filepath": str(Path("two.wav").resolve()), "offset": offset, "duration": 0.8} for offset in (0, 0.9)
    ]
    manifest = tmp_path / "m.json"
    manifest.write_text("".join(json.dumps(line) + "\n" for line in lines))
    status, out, _ = transcribe("--format", "json", "--words", manifest, "one.wav")
    found = [json.loads(line) for line in out.splitlines()]
    assert status == 0 and [one["audio_filepath"] for one in found] == [*[lines[0]["audio_filepath"]] * 2, "one.wav"]
    assert [(one.get("offset"), one.get("duration")) for one in found] == [(0, 0.8), (0.9, 0.8), (None, None)]
    right = model.transcribe([load_audio("two.wav", 16000, 0.9, 0.8)])[0]
    assert found[1]["text"] == right.text and [word["text"] for word in found[1]["words"]] == right.text.split()
    assert found[1]["duration_s"] == 0.8 and found[1]["segments"]
    assert "words" not in json.loads(transcribe("--format", "json", "one.wav")[1])


def test_words_as_lines(transcribe, model):
    right = model.transcribe("one.wav")
    _, out, _ = transcribe("--words", "one.wav")
    assert [line.split("\t")[0] for line in out.splitlines()] == ["one.wav"] * len(right.words)
    assert [line.split("\t")[3] for line in out.splitlines()] == [word.text for word in right.words]
    for form in ("tsv", "srt", "vtt"):
        for words in (False, True):
            given = ["--format", form, *(["--words"] if words else []), "one.wav"]
            assert transcribe(*given) == (0, format_transcript(right, form, words), "")


def test_a_file_for_each_recording_and_format(transcribe, model, tmp_path):
    target = tmp_path / "new" / "texts"
    arguments = ["--format", "all", "--output-dir", target, "one.wav", "gone.wav", "more", "one.wav"]
    status, out, err = transcribe(*arguments)
    wanted = [f"{name}{suffix_of(form)}" for name in ("one", "one-2", "one-3") for form in FORMATS]
    assert (status, out.splitlines()) == (1, [f"{target}/{name}" for name in wanted])
    assert err.splitlines() == ["error: gone.wav: no such file", "1 of 4 recordings could not be transcribed"]
    assert sorted(file.name for file in target.iterdir()) == sorted(wanted)
    right = model.transcribe("more/one.flac")
    for form in FORMATS:
        suffix = "txt" if form == "text" else form
        found = (target / f"one-2.{suffix}").read_text(encoding="utf-8")
        assert found.splitlines()[0] == format_transcript(right, form).splitlines()[0] or form == "json"
    assert json.loads((target / "one-2.json").read_text())["text"] == right.text

    before = {file: file.read_bytes() for file in target.iterdir()}
    status, _, err = transcribe(*arguments)
    assert status == 2 and "exists already" in err and "--overwrite" in err
    assert {file: file.read_bytes() for file in target.iterdir()} == before
    assert transcribe(*arguments, "--overwrite")[0] == 1


def test_a_recording_is_never_replaced(transcribe, folder, tmp_path):
    content = (folder / "sounds" / "one.wav").read_bytes()
    (tmp_path / "one.txt").write_bytes(content)  # a recording, whatever its name
    status, _, err = transcribe("--output-dir", tmp_path, "--overwrite", "one.wav")
    assert status == 2 and "one.txt" in err and (tmp_path / "one.txt").read_bytes() == content


@pytest.mark.medium
def test_standard_input(folder, model, transcribe, monkeypatch):
    film, sound = (folder / "sounds" / name for name in ("film.mp4", "one.wav"))
    command = [sys.executable, "-m", "jasper_tf", "transcribe", "--model", folder / "run", "-"]
    done = subprocess.run(command, cwd=ROOT, input=film.read_bytes(), capture_output=True)
    assert (done.returncode, done.stdout.decode()) == (0, f"-\t{model.transcribe(film)}\n"), done.stderr[-2000:]
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(sound.read_bytes())))
    assert transcribe("-") == (0, f"-\t{model.transcribe(sound)}\n", "")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--format", "srt", "one.wav", "two.wav"], "--format srt: 2 recordings; name a folder"),
        (["--format", "srt,json", "one.wav"], "--format srt,json: several formats"),
        (["--format", "all", "one.wav"], "--format text,json,tsv,srt,vtt: several formats"),
        (["--batch-size", "0", "one.wav"], "--batch-size 0"),
        (["--output-dir", "one.wav", "two.wav"], "--output-dir one.wav"),
        (["-", "-"], "-: is there twice"),
    ],
)
def test_wrong_use(transcribe, arguments, message):
    status, out, err = transcribe(*arguments)
    assert (status, out) == (2, "") and err.startswith(f"error: {message}") and len(err.splitlines()) == 1


def test_an_unknown_format(folder, capfd):
    assert main(["transcribe", "--model", str(folder / "run"), "--format", "ass", "one.wav"]) == 2
    assert "'ass' is none of text, json, tsv, srt, vtt" in capfd.readouterr().err


def test_names_of_nothing_are_a_mistake_in_the_command(transcribe, tmp_path):
    """What exists and cannot be read is not."""
    (tmp_path / "text.wav").write_text("no sound")
    for names, status in (
        (["gone.wav"], 2),
        (["gone.wav", "*.xyz", "gone.jsonl"], 2),
        (["gone.wav", "one.wav"], 1),
        (["gone.wav", tmp_path / "text.wav"], 1),
    ):
        assert transcribe(*names)[0] == status, names


WITHOUT_TENSORFLOW = """
import sys
from jasper_tf.__main__ import main
status = main(sys.argv[1:])
assert "tensorflow" not in sys.modules
sys.exit(status)
"""


def test_what_cannot_be_read_is_said_before_tensorflow_loads(folder, tmp_path):
    (tmp_path / "broken.jsonl").write_text("[]\n")
    paths = ["gone.wav", folder / "run", "*.xyz", tmp_path / "broken.jsonl", ROOT / "pyproject.toml"]
    command = [sys.executable, "-c", WITHOUT_TENSORFLOW, "transcribe", "--model", folder / "run", *paths]
    done = subprocess.run(command, cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 1 and len(lines) == 6 and lines[-1].startswith("5 of 5"), done.stderr
    assert all(line.startswith("error: ") for line in lines[:-1])
    for line, said in zip(
        lines, ["no such file", "holds no audio", "matches no", "broken.jsonl:1: ", ".toml"], strict=False
    ):
        assert said in line


def test_without_pyav(transcribe, monkeypatch):
    monkeypatch.setitem(sys.modules, "av", None)
    status, out, err = transcribe("film.mp4", "one.wav")
    assert status == 1 and out.startswith("one.wav\t")
    assert err.splitlines()[0].startswith("error: film.mp4: ") and "pip install 'jasper-tf[formats]'" in err
