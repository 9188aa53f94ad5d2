"""The verbs evaluate and transcribe, as a user calls them."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import jiwer
import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import main
from jasper_tf.audio.load import load_audio
from jasper_tf.export.saved_model.writer import export

ROOT = Path(__file__).parents[2]
LABELS = list(" abcdefghijklmnopqrstuvwxyz'")


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(LABELS)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """run/model.keras, five sounds, and a file that is no sound."""
    folder = tmp_path_factory.mktemp("evaluate")
    (folder / "run").mkdir()
    model.save(folder / "run" / "model.keras")
    rng = np.random.default_rng(0)
    for k, seconds in enumerate((0.7, 1.9, 0.3, 1.2, 0.9)):
        soundfile.write(folder / f"{k}.wav", rng.normal(scale=0.1, size=int(16000 * seconds)), 16000)
    (folder / "broken.wav").write_text("this is text")
    return folder


def write_manifest(path, lines):
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_evaluate_scores_every_utterance_once(folder, model, tmp_path, capfd):
    sounds = [load_audio(folder / f"{k}.wav") for k in range(5)]
    pieces = [sounds[0], sounds[1][8000:24000], sounds[2], sounds[3], sounds[4]]
    right = [*map(str, model.transcribe(pieces, batch_size=1))]
    texts = [right[0], "it's über", "", right[3] + " a", right[4]]
    lines = [
        {"audio_filepath": str(folder / f"{k}.wav"), "duration": len(piece) / 16000, "text": text}
        for k, (piece, text) in enumerate(zip(pieces, texts, strict=True))
    ]
    lines[1]["offset"] = 0.5
    manifest = write_manifest(tmp_path / "m.jsonl", lines)
    arguments = ["evaluate", "--model", str(folder / "run"), "--manifest", str(manifest), "--batch-size", "2"]
    outputs = ["--output", str(tmp_path / "p.jsonl"), "--json", str(tmp_path / "r.json")]
    assert main([*arguments, *outputs]) == 0
    out, err = capfd.readouterr()

    predictions = [json.loads(line) for line in (tmp_path / "p.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [p["audio_filepath"] for p in predictions] == [line["audio_filepath"] for line in lines]
    assert [p["text"] for p in predictions] == texts
    assert [p["pred_text"] for p in predictions] == right
    assert predictions[0]["wer"] == 0.0 and predictions[1]["offset"] == 0.5

    report = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    want = jiwer.process_words(texts, right)
    assert report["wer"] == pytest.approx(want.wer) and report["wer"] > 0
    assert [report[key] for key in ("insertions", "deletions", "substitutions")] == [
        want.insertions,
        want.deletions,
        want.substitutions,
    ]
    assert report["cer"] == pytest.approx(jiwer.cer(texts, right, *[jiwer.ReduceToListOfListOfChars()] * 2))
    assert (report["utterances"], report["unreadable"], report["unknown_characters"]) == (5, 0, {"ü": 1})
    assert report["audio_s"] == pytest.approx(sum(map(len, pieces)) / 16000)
    assert report["real_time_factor"] > 0
    assert f"WER {want.wer:.2%}" in out and "5 utterances" in out
    assert "1 characters of the references are not among the labels" in err and "'ü' 1" in err
    assert "5 utterances" in out


def test_evaluate_names_what_it_cannot_read(folder, tmp_path, capfd):
    names = ("broken.wav", "2.wav", "gone.wav")
    lines = [{"audio_filepath": str(folder / name), "duration": 0.3, "text": "a"} for name in names]
    lines.append({"audio_filepath": str(folder / "gone.flac"), "text": "a"})
    manifest = write_manifest(tmp_path / "m.jsonl", lines)
    report, predictions = tmp_path / "r.json", tmp_path / "p.jsonl"
    model = str(folder / "run" / "model.keras")
    arguments = ["evaluate", "--model", model, "--manifest", str(manifest)]
    assert main([*arguments, "--json", str(report), "--output", str(predictions)]) == 1
    found = json.loads(report.read_text())
    assert (found["unreadable"], found["utterances"]) == (3, 1)
    assert ["error" in json.loads(line) for line in predictions.read_text().splitlines()] == [True, False, True, True]
    errors = [line for line in capfd.readouterr().err.splitlines() if line.startswith("error: ")]
    for number, name in ((1, "broken.wav"), (3, "gone.wav"), (4, "gone.flac")):
        assert any(f"m.jsonl:{number}" in line and name in line for line in errors), errors
    assert len(errors) == 3


def test_evaluate_of_nothing_that_can_be_read(folder, tmp_path, capfd):
    manifest = write_manifest(tmp_path / "m.jsonl", [{"audio_filepath": "gone.wav", "duration": 1, "text": "a"}])
    files = ["--json", str(tmp_path / "r.json"), "--html", str(tmp_path / "r.html")]
    assert main(["evaluate", "--model", str(folder / "run"), "--manifest", str(manifest), *files]) == 1
    assert "WER unknown" in capfd.readouterr().out
    assert json.loads((tmp_path / "r.json").read_text())["wer"] is None
    assert "gone.wav" in (tmp_path / "r.html").read_text()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"--model": "absent"}, "absent: "),
        ({"--model": "broken.wav"}, "broken.wav: a recording; give"),
        ({"--manifest": "absent.jsonl"}, "absent.jsonl"),
        ({"--json": "absent/r.json"}, "r.json: cannot write"),
        ({"--batch-size": "0"}, "--batch-size 0: must be 1 or more"),
    ],
)
def test_evaluate_wrong_use(folder, tmp_path, capfd, monkeypatch, change, message):
    line = {"audio_filepath": str(folder / "2.wav"), "duration": 0.3, "text": "a"}
    write_manifest(folder / "good.jsonl", [line])
    monkeypatch.chdir(folder)
    given = {"--model": "run", "--manifest": "good.jsonl", "--output": str(tmp_path / "p.jsonl"), **change}
    assert main(["evaluate", *(part for pair in given.items() for part in pair)]) == 2
    out, err = capfd.readouterr()
    [error] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert message in error and "Traceback" not in err
    assert out == "" and list(tmp_path.iterdir()) == []


@pytest.mark.medium
def test_transcribe_prints_only_paths_and_texts(folder, model):
    files = [str(folder / f"{name}.wav") for name in (3, 0, "broken", 4, 1, 3)]
    command = [sys.executable, "-m", "jasper_tf", "transcribe", "--model", folder / "run", "--batch-size", "4", *files]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1, done.stderr[-3000:]
    readable = [file for file in files if "broken" not in file]
    texts = model.transcribe([load_audio(file) for file in readable], batch_size=1)
    assert done.stdout.splitlines() == [f"{file}\t{text}" for file, text in zip(readable, texts, strict=True)]
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "broken.wav" in line and "Traceback" not in done.stderr


@pytest.mark.medium
def test_transcribe_with_a_saved_model(folder, model, tmp_path, capfd):
    version = export(model, tmp_path / "serving")
    file = str(folder / "1.wav")
    for path in (version, version.parent, folder / "run"):
        capfd.readouterr()
        assert main(["transcribe", "--model", str(path), file]) == 0
        assert capfd.readouterr().out == f"{file}\t{model.transcribe([file])[0]}\n"


def test_a_path_cannot_break_the_lines_or_steer_the_terminal(folder, model, tmp_path, capfd):
    names = ["a\tb.wav", "c\nd.wav", "e\x1b[2Jf.wav", "absent\n\x9b\udce4.wav"]
    for name in names[:-1]:
        shutil.copy(folder / "2.wav", tmp_path / name)
    assert main(["transcribe", "--model", str(folder / "run"), *(str(tmp_path / name) for name in names)]) == 1
    out, err = capfd.readouterr()
    text = str(model.transcribe(folder / "2.wav"))
    assert [line.partition("\t")[2] for line in out.splitlines()] == [text] * 3
    assert out.replace("\t", "").replace("\n", "").isprintable()
    [error] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert "absent" in error and error.isprintable()


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
@pytest.mark.medium
def test_a_long_file_shows_the_time_left_on_a_terminal(folder, tmp_path):
    soundfile.write(tmp_path / "long.flac", np.zeros(16000 * 120, np.int16), 16000)
    command = [sys.executable, "-m", "jasper_tf", "transcribe", "--model", folder / "run"]
    command += ["--batch-size", "1", "--chunk-s", "3", "--overlap-s", "1", tmp_path / "long.flac"]
    reader, terminal = os.openpty()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=terminal, text=True, timeout=120)
    os.close(terminal)
    shown = os.read(reader, 1 << 16).decode()
    os.close(reader)
    assert done.returncode == 0 and done.stdout.startswith(f"{tmp_path / 'long.flac'}\t")
    assert "left" in shown and "of 0:02:00" in shown and "\x1b[2K" in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--chunk-s", "-1"], "--chunk-s -1: "),
        (["--chunk-s", "inf"], "--chunk-s inf: "),
        (["--chunk-s", "5", "--overlap-s", "3"], "--overlap-s 3: must be less"),
        (["--chunk-s", "0", "--overlap-s", "inf"], "--overlap-s inf: "),
    ],
)
def test_transcribe_wrong_use(folder, capfd, options, message):
    assert main(["transcribe", "--model", str(folder / "run"), *options, str(folder / "1.wav")]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith(f"error: {message}") and len(err.splitlines()) == 1


@pytest.mark.parametrize("path", ["absent", "broken.wav", "."])
def test_transcribe_without_a_model(folder, capfd, path):
    assert main(["transcribe", "--model", str(folder / path), str(folder / "1.wav")]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("error: ") and len(err.splitlines()) == 1
