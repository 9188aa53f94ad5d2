"""The verb check, as a user calls it; tests/data/checks holds a corpus with every fault."""

import json

import numpy as np
import pytest
import soundfile
import yaml

from jasper_tf.__main__ import main
from jasper_tf.data.checks.fault_table import FAULT_TABLE


def check(capsys, *arguments):
    """Exit status, lines of stdout, lines of stderr."""
    status = main(["check", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out.splitlines(), captured.err.splitlines()


def test_spoken_recordings_are_clean(spoken_corpus, capsys, tmp_path):
    manifests = [spoken_corpus / f"{name}.jsonl" for name in ("train", "dev", "test")]
    status, out, err = check(capsys, "--manifest", *manifests, "--picture", tmp_path / "rates.png")
    assert status == 0, out
    assert [line.split(": ", 1)[1] for line in out[:3]] == [
        "96 lines, 0.04 h: no fault",
        "12 lines, 0.01 h: no fault",
        "16 lines, 0.01 h: no fault",
    ]
    assert "not read: the audio files; --audio reads them" in out
    assert (tmp_path / "rates.png").stat().st_size > 5000
    status, out, err = check(capsys, "--manifest", manifests[1], "--audio")
    assert status == 0 and not any(line.startswith("not read") for line in out)


def test_formats_and_rates_are_no_faults(mixed_formats, spoken_corpus, capsys, tmp_path):
    """One letter in a long recording is slow beside the sentences: a finding, unless the user says otherwise."""
    manifests = [spoken_corpus / "train.jsonl", mixed_formats]
    status, out, _ = check(capsys, "--manifest", *manifests, "--audio")
    assert status == 0, out
    path = mixed_formats.parent / json.loads(mixed_formats.read_text().splitlines()[0])["audio_filepath"]
    sound, rate = soundfile.read(path)
    soundfile.write(tmp_path / "slow.flac", np.tile(sound, (8, 1)), rate)
    line = {"audio_filepath": "slow.flac", "duration": 8 * len(sound) / rate, "text": "a"}
    (tmp_path / "slow.jsonl").write_text(json.dumps(line) + "\n")
    manifests.append(tmp_path / "slow.jsonl")
    status, out, _ = check(capsys, "--manifest", *manifests, "--audio")
    kinds = [line.split("  ")[0] for line in out if ".jsonl:" in line][3:]
    assert status == 1 and kinds == ["speaking rate", "wrong rate (no fault)"], out
    status, out, _ = check(capsys, "--manifest", *manifests, "--ignore", "speaking rate")
    assert status == 0 and any(line.startswith("speaking rate (no fault)") for line in out)
    assert check(capsys, "--manifest", *manifests, "--min-rate", "0.01")[0] == 0


def test_a_manifest_cannot_steer_the_terminal(capsys, tmp_path):
    manifest = tmp_path / "m\x1b[2J.json"
    lines = [{"audio_filepath": "absent\u202e.wav", "duration": 1, "text": "\x9b31m a"}, {"\x1b[2J": 1}, ["\n"]]
    manifest.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines))
    status, out, err = check(capsys, "--manifest", manifest, "--list", tmp_path / "l\x1b.jsonl")
    assert status == 1 and all(line.isprintable() for line in out + err)


def test_every_manifest_of_a_configuration_is_checked(tiny_config, tmp_path, capsys):
    """Several training sets, several named validation sets; one manifest may serve validation and test."""
    values = tiny_config().to_dict()
    train, dev = (values["model"][name].pop("manifest_filepath") for name in ("train_ds", "validation_ds"))
    lines = open(train, "rb").read().splitlines(keepends=True)
    for name, part in (("one", lines[:10]), ("two", lines[10:])):
        (tmp_path / f"{name}.json").write_bytes(b"".join(part))
    leak = tmp_path / "leak.json"
    leak.write_bytes(lines[12])
    sets = [{"manifest_filepath": str(tmp_path / "one.json")}, {"manifest_filepath": [str(tmp_path / "two.json")]}]
    values["model"]["train_ds"]["input_cfg"] = sets
    values["model"]["validation_ds"]["manifest_filepath"] = {"clean": dev, "other": str(leak)}
    values["model"]["test_ds"] = {"manifest_filepath": dev, "batch_size": 4}
    file = tmp_path / "c.yaml"
    file.write_text(yaml.safe_dump(values))
    status, out, _ = check(capsys, "--config", file, "--list", tmp_path / "faults.jsonl")
    assert status == 1
    assert [line.split(": ")[0] for line in out[:4]] == [
        str(tmp_path / "one.json"),
        str(tmp_path / "two.json"),
        dev,
        str(leak),
    ]
    (fault,) = map(json.loads, (tmp_path / "faults.jsonl").read_text().splitlines())
    assert (fault["manifest"], fault["line"], fault["kind"]) == (str(tmp_path / "two.json"), 3, "leak")
    # --manifest asks for another one, judged by the same model.
    unknown = tmp_path / "unknown.json"
    unknown.write_bytes(lines[0].replace(b'"text": "', b'"text": "1'))
    status, out, _ = check(capsys, "--config", file, "--manifest", unknown)
    assert status == 1 and any(line.startswith("characters outside labels") for line in out)
    assert not any("one.json" in line for line in out)
    status, out, _ = check(
        capsys, "--config", file, "model.train_ds.unknown_characters=remove_character", "--manifest", unknown
    )
    assert status == 0


def test_without_a_configuration(spoken_corpus, tmp_path, capsys):
    """Every kind is looked for: for CTC as in a published model, leaks in --held-out, characters with --labels."""
    lines = [json.loads(line) for line in (spoken_corpus / "test.jsonl").read_text().splitlines()]
    for line in lines:
        line["audio_filepath"] = str(spoken_corpus / line["audio_filepath"])
    long = "the text of another recording which is far longer"
    made = [*lines, {**lines[0], "offset": 0.01, "duration": 0.5, "text": f"{long} é"}]
    for name, some in (("train", made), ("dev", lines[3:5])):
        (tmp_path / f"{name}.json").write_text("".join(json.dumps(line) + "\n" for line in some))
    manifest = ["--manifest", tmp_path / "train.json", "--audio"]

    def kinds(*arguments):
        status, out, _ = check(capsys, *manifest, "--list", tmp_path / "l.jsonl", "--overwrite", *arguments)
        found = [json.loads(line) for line in (tmp_path / "l.jsonl").read_text().splitlines()]
        return status, sorted((fault["line"], fault["kind"]) for fault in found), out

    status, found, out = kinds()
    assert status == 1 and found == [(17, "infeasible for CTC")]
    assert any(line.startswith("characters: ") and "é" in line for line in out)
    assert [line.partition(";")[0] for line in out if line.startswith("not checked")] == [
        "not checked: characters outside labels",
        "not checked: leak",
    ]
    status, found, out = kinds("--held-out", tmp_path / "dev.json", "--labels", " abcdefghijklmnopqrstuvwxyz'")
    assert [number for number, kind in found if kind == "leak"] == [4, 5]
    assert (17, "characters outside labels") in found and not any("not checked" in line for line in out)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], "nothing to check: give --config C or --manifest F"),
        (["--manifest", "gone.json"], "gone.json: no such file"),
        (["--config", "gone.yaml"], "gone.yaml"),
        (["--manifest", "m.json", "--ignore", "slow"], "--ignore 'slow': no such kind; the kinds are broken line, "),
        (["--manifest", "m.json", "--min-rate", "3", "--max-rate", "2"], "--min-rate 3 is above --max-rate 2"),
        (["--manifest", "m.json", "--tolerance", "-1"], "--tolerance -1"),
        (["--manifest", "m.json", "--max-clipped", "5"], "--max-clipped 5"),
        (["--manifest", "m.json", "--picture", "rates.svg"], "--picture rates.svg: is drawn as PNG"),
        (["--manifest", "m.json", "--write-clean", "m.json"], "--write-clean m.json: is the same file as m.json"),
        (["--manifest", "m.json", "--list", "gone/faults.jsonl"], "gone/faults.jsonl: cannot write"),
        (["model.labels=[a]", "--manifest", "m.json"], "model.labels=[a]: key=value changes a configuration"),
        (["--config", "c.yaml", "--held-out", "m.json"], "--held-out: is compared with --manifest"),
        (["--config", "c.yaml", "--labels", "abc"], "--labels, --config: one of them"),
    ],
)
def test_wrong_use_is_one_line(arguments, expected, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "m.json").write_text('{"audio_filepath": "m.json", "duration": 1, "text": "yes"}\n')
    status, out, err = check(capsys, *arguments)
    assert status == 2 and out == [] and len(err) == 1
    assert err[0].startswith("error: ") and expected in err[0]
    assert [file.name for file in tmp_path.iterdir()] == ["m.json"]


@pytest.mark.parametrize("flags", [[], ["--audio"]])
def test_nothing_but_blank_or_broken_lines(capsys, tmp_path, flags):
    (tmp_path / "m.json").write_text("\n\n")
    status, out, err = check(capsys, "--manifest", tmp_path / "m.json", *flags)
    assert status == 2 and out == [] and "m.json: the manifest holds no utterance" in err[0]
    (tmp_path / "m.json").write_text("{\n[]")
    status, out, _ = check(capsys, "--manifest", tmp_path / "m.json", "--picture", tmp_path / "rates.png", *flags)
    assert status == 1 and "2 lines, 0.00 h: 2 with a fault" in out[0]
    assert (tmp_path / "rates.png").is_file()


def test_help_shows_the_table(capsys):
    with pytest.raises(SystemExit):
        main(["check", "--help"])
    assert FAULT_TABLE.strip() in capsys.readouterr().out
