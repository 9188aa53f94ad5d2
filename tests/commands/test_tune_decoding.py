"""The verb tune-decoding, and evaluate with the file that it writes."""

import json

import numpy as np
import pytest
import soundfile
import yaml

from jasper_tf.__main__ import main

LABELS = list(" abcdefghijklmnopqrstuvwxyz'")
LINES = ["the cat sat", "the dog sat", "a cat ran", "the cat ran home", "a dog"]


@pytest.fixture(scope="module")
def folder(untrained_model, tmp_path_factory):
    """run/model.keras, m.jsonl of two recordings and one that is missing, good.jsonl without it, lm.arpa."""
    folder = tmp_path_factory.mktemp("tune")
    (folder / "run").mkdir()
    untrained_model(LABELS).save(folder / "run" / "model.keras")
    rng = np.random.default_rng(0)
    for name in "ab":
        soundfile.write(folder / f"{name}.wav", rng.normal(scale=0.1, size=9600), 16000)
    lines = [json.dumps({"audio_filepath": f"{name}.wav", "duration": 0.6, "text": "the cat"}) for name in "abc"]
    (folder / "m.jsonl").write_text("\n".join(lines))
    (folder / "good.jsonl").write_text("\n".join(lines[:2]))
    (folder / "silent.jsonl").write_text(lines[0].replace("the cat", ""))
    (folder / "gone.jsonl").write_text(lines[2])
    (folder / "lm.txt").write_text("\n".join(LINES))
    build = ["lm", "build", "--text", str(folder / "lm.txt"), "--order", "2", "--discount-fallback"]
    assert main([*build, "--output", str(folder / "lm.arpa")]) == 0
    return folder


@pytest.fixture
def tune(folder, monkeypatch, capfd):
    """`tune(...)`: exit status, stdout, stderr, in the folder."""
    monkeypatch.chdir(folder)

    def tune(*arguments, **changed):
        given = {"model": "run", "manifest": "good.jsonl", "lm": "lm.arpa"} | changed
        options = [part for key, value in given.items() for part in (f"--{key}", value)]
        capfd.readouterr()
        return main(["tune-decoding", *options, *map(str, arguments)]), *capfd.readouterr()

    return tune


SMALL = ("--alpha", "0", "0.5", "--beta", "1", "--beam-size", "2", "--floor", "-5")


@pytest.mark.medium
def test_the_best_of_a_given_grid_is_written(tune, folder, tmp_path):
    file, picture = tmp_path / "d.yaml", tmp_path / "grid.png"
    status, out, err = tune(
        *SMALL, "--output", file, "--picture", picture, "decoding.beam.top_tokens=6", manifest="m.jsonl"
    )
    assert status == 1 and "m.jsonl:3" in err and "Traceback" not in err
    section = yaml.safe_load(file.read_text())["decoding"]
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "greedy: WER" in out and "2 utterances" in out
    if "writing greedy" not in out:
        beam = section["beam"]
        assert section["strategy"] == "beam" and beam["ngram_lm_model"] == str(folder / "lm.arpa")
        assert (beam["beam_size"], beam["top_tokens"], beam["beam_beta"]) == (2, 6, 1.0)
        assert beam["ngram_lm_alpha"] in (0.0, 0.5)
    status, _, err = tune(*SMALL, "--output", file)
    assert status == 2 and "--overwrite" in err


@pytest.mark.medium
def test_of_equal_decodings_greedy_is_written(tune, untrained_model, tmp_path):
    """The model is sure of one label, which no setting changes."""
    model, file = untrained_model(LABELS), tmp_path / "d.yaml"
    model.decoder.bias.assign([0, 1000, *[0] * (len(LABELS) - 1)])
    model.save(tmp_path / "model.keras")
    status, out, _ = tune(*SMALL, "--output", file, model=str(tmp_path))
    greedy, best = (line for line in out.splitlines() if line.startswith(("greedy: ", "best: ")))
    assert status == 0 and greedy.partition("WER")[2] == best.partition("WER")[2]
    assert yaml.safe_load(file.read_text()) == {"decoding": {"strategy": "greedy"}}
    assert "does not help" in out and "only 4 words" in out


@pytest.mark.parametrize(
    ("options", "changed", "message"),
    [
        ([], {"lm": "absent.arpa"}, "--lm absent.arpa: no such file"),
        ([], {"manifest": "silent.jsonl"}, "silent.jsonl: its texts have no words"),
        ([], {"manifest": "gone.jsonl"}, "gone.jsonl: none of its recordings can be read"),
        ([], {"manifest": "absent.jsonl"}, "absent.jsonl"),
        ([], {"manifest": "decoding.strategy=beam"}, "--manifest: names no manifest"),
        ([], {"model": "good.jsonl"}, "good.jsonl: "),
        (["--alpha", "60"], {}, "ngram_lm_alpha: 60.0 is out of range"),
        (["--beam-size", "0"], {}, "beam_size: 0 is out of range"),
        (["--floor", "1"], {}, "token_min_logp: 1.0 is out of range"),
        (["--alpha", "nan"], {}, "ngram_lm_alpha"),
        (["decoding.beam.tokens=6"], {}, "unknown key"),
        (["--picture", "lm.arpa", "--overwrite"], {}, "--picture lm.arpa: "),
        (["--batch-size", "0"], {}, "--batch-size 0"),
    ],
)
def test_wrong_use(tune, tmp_path, options, changed, message):
    status, out, err = tune("--output", tmp_path / "d.yaml", *options, **changed)
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert (status, out) == (2, "") and message in errors[-1] and "Traceback" not in err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_language_model_of_the_training_texts_repairs_an4(shared, tmp_path, capfd):
    an4, model = shared / "data" / "an4", shared / "pretrained" / "an4_anchor.nemo"
    lines = [json.loads(line) for line in (an4 / "dev_manifest.json").read_text().splitlines()][:40]
    for line in lines:
        line["audio_filepath"] = str(an4 / line["audio_filepath"])
    (tmp_path / "dev.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))

    def run(*arguments):
        capfd.readouterr()
        status = main([*map(str, arguments)])
        out, err = capfd.readouterr()
        assert status == 0, err[-3000:]
        return out

    lm, chosen, report = tmp_path / "an4.arpa.gz", tmp_path / "d.yaml", tmp_path / "r.json"
    train = an4 / "train_manifest.json"
    run("lm", "build", "--from-manifest", train, "--order", 3, "--discount-fallback", "--output", lm)
    data = ["--model", model, "--manifest", tmp_path / "dev.jsonl"]
    grid = ["--alpha", 0.4, "--beta", 0, 1, "--beam-size", 16, "--floor", -5]
    out = run("tune-decoding", *data, "--lm", lm, "--output", chosen, *grid)
    run("evaluate", *data, "--json", report)
    greedy = json.loads(report.read_text())["wer"]
    run("evaluate", *data, "--json", report, "--overwrite", "--decoding", chosen)
    found = json.loads(report.read_text())
    assert f"greedy: WER {greedy:.2%}" in out and f": WER {found['wer']:.2%}" in out
    assert found["wer"] < 0.85 * greedy
    assert found["calibration"]["ece"] < 0.2 and sum(found["calibration"]["words"]) > 100
