"""How evaluate and transcribe decode: overrides, language models, hot words, n-best, files of tune-decoding."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from jasper_tf.__main__ import main
from jasper_tf.inference.transcriber import Transcriber

ROOT = Path(__file__).parents[2]
LABELS = list(" abcdefghijklmnopqrstuvwxyz'")
LINES = ["the cat sat", "the dog sat", "a cat ran", "the cat ran home", "a dog"]


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(LABELS)


@pytest.fixture(scope="module")
def folder(model, tmp_path_factory):
    """run/model.keras, a.wav, b.wav, m.jsonl of both, words of LINES: lm.arpa, cut.arpa; greek.arpa."""
    folder = tmp_path_factory.mktemp("decoding")
    (folder / "run").mkdir()
    model.save(folder / "run" / "model.keras")
    rng = np.random.default_rng(0)
    for name, seconds in (("a", 0.6), ("b", 0.9)):
        soundfile.write(folder / f"{name}.wav", rng.normal(scale=0.1, size=int(16000 * seconds)), 16000)
    lines = [{"audio_filepath": f"{name}.wav", "duration": 0.6, "text": "the cat"} for name in "ab"]
    (folder / "m.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for name, texts in (("lm", LINES), ("greek", ["αβγ δεζ", "δεζ ηθι"])):
        (folder / f"{name}.txt").write_text("\n".join(texts))
        build = ["lm", "build", "--text", str(folder / f"{name}.txt"), "--order", "2", "--discount-fallback"]
        assert main([*build, "--output", str(folder / f"{name}.arpa")]) == 0
    whole = (folder / "lm.arpa").read_text()
    (folder / "cut.arpa").write_text(whole[: whole.index("\\2-grams:") + 20])
    (folder / "bad.txt").write_text("cat\ncafé\n")
    (folder / "none.yaml").write_text("beam_size: 5")
    (folder / "training.yaml").write_text("name: a\nmodel: {decoding: {strategy: beam, beam: {beam_size: 5}}}")
    (folder / "decoding.yaml").write_text("decoding: {strategy: beam, beam: {beam_size: 5, token_min_logp: -7}}")
    return folder


@pytest.fixture
def run(folder, monkeypatch, capfd):
    """`run(verb, ...)`: exit status, stdout, stderr, in the folder."""
    monkeypatch.chdir(folder)

    def run(verb, *arguments):
        capfd.readouterr()
        status = main([verb, "--model", "run", *map(str, arguments)])
        return status, *capfd.readouterr()

    return run


def texts(model, decoding, *names, hot_words=None):
    transcriber = Transcriber(model, decoding=decoding)
    return [str(one) for one in transcriber.transcribe([f"{name}.wav" for name in names], hot_words=hot_words)]


@pytest.mark.medium
def test_overrides_stand_anywhere_among_the_recordings(run, model, folder, monkeypatch):
    decoding = {"strategy": "beam", "beam": {"beam_size": 4, "ngram_lm_model": "lm.arpa", "ngram_lm_alpha": 3.0}}
    overrides = [f"decoding.beam.{key}={value}" for key, value in decoding["beam"].items()]
    status, out, _ = run("transcribe", "decoding.strategy=beam", "a.wav", *overrides, "b.wav")
    right = texts(model, decoding, "a", "b")
    assert (status, out.splitlines()) == (0, [f"{name}.wav\t{text}" for name, text in zip("ab", right, strict=True)])
    assert right != texts(model, {"strategy": "beam"}, "a", "b")
    assert (
        run("transcribe", "a.wav", "b.wav", "--lm", "lm.arpa", *overrides[::2], "decoding.beam.beam_size=4")[1] == out
    )
    assert main(["transcribe", "a.wav", "--model", "run", "decoding.strategy=beam", *overrides, "b.wav"]) == 0


def test_a_recording_may_have_the_name_of_an_override(run, folder):
    (folder / "decoding.a=1").write_bytes((folder / "a.wav").read_bytes())
    status, out, _ = run("transcribe", "decoding.a=1")
    assert status == 0 and out.startswith("decoding.a=1\t")


@pytest.mark.medium
def test_hot_words_and_a_file_of_the_section(run, model, tmp_path):
    given = {"strategy": "beam", "beam": {"beam_size": 5, "token_min_logp": -7.0}}
    without = texts(model, given, "a", "b")
    wanted = [text[:-1] for text in without]
    (tmp_path / "hot.txt").write_text(f"{wanted[0].upper()} 50\n\n# no word\n{wanted[1]}\n")
    right = texts(model, given, "a", "b", hot_words={wanted[0]: 50.0, wanted[1]: 10.0})
    assert right[0] == wanted[0] != without[0]
    for options, found in (([], without), (["--hot-words", tmp_path / "hot.txt"], right)):
        status, out, _ = run("transcribe", "--decoding", "decoding.yaml", *options, "a.wav", "b.wav")
        assert (status, [line.split("\t")[1] for line in out.splitlines()]) == (0, found)


@pytest.mark.medium
def test_n_best(run, model, tmp_path):
    decoding = {"strategy": "beam", "beam": {"n_best": 3}}
    right = Transcriber(model, decoding=decoding).transcribe("b.wav")
    _, out, _ = run("transcribe", "--n-best", 3, "b.wav")
    rows = [line.split("\t") for line in out.splitlines()]
    assert [row[:2] for row in rows] == [["b.wav", "1"], ["b.wav", "2"], ["b.wav", "3"]]
    assert [row[3] for row in rows] == [one.text for one in right.n_best] and rows[0][3] == right.text
    scores = [float(row[2]) for row in rows]
    assert scores == sorted(scores, reverse=True) and scores == pytest.approx(
        [one.score for one in right.n_best], abs=1e-3
    )
    found = json.loads(run("transcribe", "--n-best", 3, "--format", "json", "b.wav")[1])
    assert [one["text"] for one in found["n_best"]] == [row[3] for row in rows]
    file = tmp_path / "p.jsonl"
    assert run("evaluate", "--manifest", "m.jsonl", "--n-best", 2, "--output", file)[0] == 0
    assert [len(json.loads(line)["n_best"]) for line in file.read_text().splitlines()] == [2, 2]


@pytest.mark.medium
def test_the_section_and_its_keys_as_in_a_training_configuration(run):
    for options, size in ((["model.decoding.strategy=beam"], 16), (["--decoding", "training.yaml"], 5)):
        status, _, err = run("evaluate", "--manifest", "m.jsonl", *options)
        assert status == 0 and f"decoding: beam, beam_size {size}" in err
        status, out, _ = run("transcribe", "a.wav", *options)
        assert status == 0 and out.startswith("a.wav\t")


def test_a_long_recording_has_one_text(run):
    _, out, err = run("transcribe", "--n-best", 3, "--chunk-s", 0.5, "--overlap-s", 0.1, "b.wav")
    assert "1 recordings were cut" in err
    [row] = out.splitlines()
    assert row.startswith("b.wav\t1\t\t")


def test_evaluate_says_how_it_decodes(run, tmp_path):
    report = tmp_path / "r.json"
    arguments = ("--json", report, "--manifest", "m.jsonl", "decoding.beam.beam_size=4")
    status, _, err = run("evaluate", *arguments, "--lm", "lm.arpa", "--overwrite")
    [line] = [line for line in err.splitlines() if line.startswith("decoding: ")]
    assert status == 0 and "beam_size 4" in line and "lm.arpa" in line
    section = json.loads(report.read_text())["decoding"]
    assert section["strategy"] == "beam"
    assert (section["beam"]["beam_size"], section["beam"]["ngram_lm_model"]) == (4, "lm.arpa")
    assert run("evaluate", "--json", report, "--manifest", "m.jsonl", "--overwrite")[0] == 0
    assert json.loads(report.read_text())["decoding"] == {"strategy": "greedy"}


def test_the_section_of_the_model_is_where_changes_begin(model, folder, tmp_path, monkeypatch, capfd):
    own = {"strategy": "beam", "beam": {"beam_size": 3, "ngram_lm_model": "absent.arpa"}}
    (tmp_path / "own").mkdir()
    type(model)(**{**model.get_config(), "decoding": own}).save(tmp_path / "own" / "model.keras")
    monkeypatch.chdir(folder)
    command = ["evaluate", "--model", str(tmp_path / "own"), "--manifest", "m.jsonl"]
    assert main([*command, "decoding.beam.ngram_lm_model=lm.arpa"]) == 0
    assert "beam_size 3, ngram_lm_model lm.arpa" in capfd.readouterr().err
    assert main(command) == 2
    out, err = capfd.readouterr()
    [error] = [line for line in err.splitlines() if line.startswith("error: ")]
    assert out == "" and "absent.arpa" in error and "Traceback" not in err


WRONG = [
    (["decoding.beam.beam_siz=4"], "nearest known key: decoding.beam.beam_size"),
    (["decoding.strategy=beam", "decoding.beam.beam_size=4000"], "at most 1,024"),
    (["decoding.beam.beam_size=4"], "add decoding.strategy=beam"),
    (["--lm", "lm.arpa", "decoding.strategy=greedy"], "decoding.strategy=beam"),
    (["--lm", "absent.arpa"], "--lm absent.arpa: no such file"),
    (["--lm", "cut.arpa"], "cut.arpa: "),
    (["--lm", "greek.arpa"], "greek.arpa: 0.0 % of its words"),
    (["--lm", "lm.txt"], "lm.txt: "),
    (["--hot-words", "absent.txt"], "--hot-words absent.txt: no such file"),
    (["--hot-words", "bad.txt"], "bad.txt:2: hot word 'café': not among the labels: 'é'"),
    (["--hot-words", "a.wav"], "a.wav: is not a text file"),
    (["--lm", "a.wav"], "a.wav: line 1: is not an ARPA file"),
    (["--n-best", "17"], "17 hypotheses, but a beam of 16"),
    (["--n-best", "0"], "n_best: 0 is out of range"),
    (["--decoding", "none.yaml"], "none.yaml: has no section `decoding`"),
    (["model.decoding.beam.beam_siz=4"], "nearest known key: decoding.beam.beam_size"),
    (["--decoding", "absent.yaml"], "absent.yaml"),
]


@pytest.mark.parametrize("verb", ["evaluate", "transcribe"])
@pytest.mark.parametrize(("options", "message"), WRONG)
def test_wrong_use(run, verb, options, message):
    what = ["--manifest", "m.jsonl"] if verb == "evaluate" else ["a.wav"]
    status, out, err = run(verb, *what, *options)
    [error] = [line for line in err.splitlines() if not line.startswith(("audio: ", "decoding: "))]
    assert (status, out) == (2, "") and error.startswith("error: ") and message in error


@pytest.mark.parametrize(
    "options",
    [
        ["transcribe", "--n-best", "2", "--format", "srt", "a.wav"],
        ["transcribe", "--n-best", "2", "--words", "a.wav"],
        ["transcribe", "decoding.strategy=beam"],
        ["evaluate", "--manifest", "decoding.strategy=beam"],
    ],
)
def test_wrong_use_of_one_verb(run, options):
    status, out, err = run(*options)
    assert (status, out) == (2, "") and err.startswith("error: ") and len(err.splitlines()) == 1


@pytest.mark.medium
def test_as_a_command(folder):
    command = [sys.executable, "-m", "jasper_tf", "transcribe", "a.wav", "--model", "run", "--lm", "lm.arpa"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*command, "decoding.beam.beam_size=4"], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 0 and done.stdout.startswith(b"a.wav\t"), done.stderr[-2000:]
    done = subprocess.run([*command, "decoding.beam.bem=4"], cwd=folder, env=environment, capture_output=True)
    assert done.returncode == 2 and done.stdout == b"" and b"Traceback" not in done.stderr
