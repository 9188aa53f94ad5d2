"""The files that verbs write: never over what they read, over another kind, or over anything without --overwrite."""

import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import export
from jasper_tf.__main__ import main
from jasper_tf.config import config_from_dict
from jasper_tf.interop.nemo.model import export_nemo, import_nemo
from jasper_tf.model.jasper_ctc import build_model

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """What the commands read."""
    folder = tmp_path_factory.mktemp("outputs")
    block = {"filters": 8, "repeat": 1, "kernel": [11], "stride": [2], "dilation": [1], "dropout": 0.0}
    model = {
        "labels": list(" abc"),
        "preprocessor": {},
        "encoder": {"feat_in": 64, "jasper": [{**block, "residual": False}]},
        "decoder": {},
        "optim": {"lr": 0.01},
    }
    config = config_from_dict({"name": "small", "model": model})
    export_nemo(build_model(config), config, folder / "model.nemo")
    import_nemo(folder / "model.nemo").write(folder / "run")
    (folder / "sounds").mkdir()
    noise = np.random.default_rng(0).normal(scale=0.1, size=16000)
    soundfile.write(folder / "sounds" / "0.wav", noise, 16000)
    (folder / "sounds" / "0.txt").write_text("abc")
    (folder / "sounds" / "table.csv").write_text("path,text\n0.wav,abc\n")
    line = {"audio_filepath": str(folder / "sounds" / "0.wav"), "duration": 1.0, "text": "abc"}
    (folder / "m.jsonl").write_text(json.dumps(line) + "\n")
    return folder


@pytest.fixture
def here(made, tmp_path, monkeypatch):
    """A copy of it as the working folder."""
    shutil.copytree(made, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


def contents(folder: Path) -> dict[str, object]:
    return {
        str(path): (os.readlink(path) if path.is_symlink() else path.read_bytes(), path.lstat().st_mode)
        for path in folder.rglob("*")
        if path.is_symlink() or path.is_file()
    }


def refused(capfd, command: str) -> str:
    capfd.readouterr()
    assert main(command.split()) == 2, command
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith("error: ")
    return line


# A command with {} for its output, what it reads, and an output's suffix.
OUTPUTS = [
    ("evaluate --model run --manifest m.jsonl --output {}", "m.jsonl run/model.keras run/config.yaml", ".jsonl"),
    ("evaluate --model run --manifest m.jsonl --json {}", "m.jsonl run/model.keras run/config.yaml", ".json"),
    ("evaluate --model model.nemo --manifest m.jsonl --json {}", "m.jsonl model.nemo", ".json"),
    ("check --manifest m.jsonl --list {}", "m.jsonl", ".jsonl"),
    ("check --manifest m.jsonl --write-clean {}", "m.jsonl", ".jsonl"),
    ("check --manifest m.jsonl --picture {}", "m.jsonl", ".png"),
    ("check --config run/config.yaml --manifest m.jsonl --list {}", "m.jsonl run/config.yaml", ".jsonl"),
    ("export-nemo --model run --output {}", "run/model.keras run/config.yaml", ".nemo"),
    ("export-nemo --model run/model.keras --output {}", "run/model.keras run/config.yaml", ".nemo"),
    ("export-nemo --model model.nemo --output {}", "model.nemo", ".nemo"),
    ("average-checkpoints run --output {}", "run/config.yaml", ".keras"),
]


@pytest.mark.parametrize(("command", "inputs", "suffix"), OUTPUTS)
def test_what_a_command_reads_it_does_not_write(here, capfd, command, inputs, suffix):
    for number, name in enumerate(inputs.split()):
        hard, soft = f"hard{number}{suffix}", f"soft{number}{suffix}"
        os.link(name, hard)
        os.symlink(name, soft)
        before = contents(here)
        for output in (hard, soft, *([name, f"./sounds/../{name}"] if name.endswith(suffix) else [])):
            assert f"is the same file as {name}" in refused(capfd, f"{command.format(output)} --overwrite"), output
        assert contents(here) == before


@pytest.mark.parametrize(("command", "inputs", "suffix"), OUTPUTS)
def test_a_file_of_another_kind_is_not_replaced(here, capfd, command, inputs, suffix):
    for content in (here / "sounds" / "0.wav", here / "run" / "model.keras", here / "run" / "config.yaml"):
        other = here / f"other{suffix}"
        shutil.copy(content, other)
        if suffix == ".keras" and content.name == "model.keras" or suffix == ".jsonl" and content.suffix == ".yaml":
            continue  # is its own kind, or looks like it
        if suffix == ".json" and content.suffix == ".yaml":
            other = other.rename(here / "other.yaml")
        before = contents(here)
        assert "not what this command writes" in refused(capfd, f"{command.format(other)} --overwrite"), content
        assert contents(here) == before


@pytest.mark.parametrize(
    ("command", "other"),
    [
        ("evaluate --model run --manifest m.jsonl --output {} --json {other}", "new.json"),
        ("check --manifest m.jsonl --list {} --write-clean {other}", "new.json"),
        ("check --manifest m.jsonl --list {} --picture {other}", "new.png"),
    ],
)
def test_two_outputs_are_two_files(here, capfd, command, other):
    before = contents(here)
    for one in (other, f"./{other}", f"sounds/../{other}"):
        assert "is the same file as" in refused(capfd, command.format(one, other=other))
    assert contents(here) == before


@pytest.mark.parametrize(
    ("command", "written"),
    [
        ("evaluate --model run --manifest m.jsonl --output p.jsonl --json r.json", "p.jsonl r.json"),
        ("check --manifest m.jsonl --list f.jsonl --write-clean c.jsonl --picture p.png", "f.jsonl c.jsonl p.png"),
        ("export-nemo --model run --output back.nemo", "back.nemo"),
        ("import-nemo model.nemo --output imported", "imported/model.keras imported/config.yaml"),
        ("prepare folder --source sounds --output data", "data/train_manifest.json data/train_left_out.tsv"),
        ("make-demo-corpus --output demo --train 2 --dev 1 --test 0", "demo/train.jsonl demo/wav/train/00001.wav"),
    ],
)
def test_only_overwrite_replaces_what_was_written_before(here, capfd, command, written):
    files = [here / name for name in written.split()]
    assert main(command.split()) == 0
    for file in files:
        file.chmod(0o640)
    before = contents(here)
    assert "--overwrite" in refused(capfd, command) and contents(here) == before
    inodes = [file.stat().st_ino for file in files]
    assert main([*command.split(), "--overwrite"]) == 0
    assert all(file.stat().st_ino != inode for file, inode in zip(files, inodes, strict=True))
    assert [stat.S_IMODE(file.stat().st_mode) for file in files] == [0o640] * len(files)
    assert set(contents(here)) == set(before)


def test_outputs_with_fixed_names_are_no_inputs_either(here, capfd):
    for folder, name, source, command in (
        ("a", "model.keras", "model.nemo", "import-nemo a/model.keras --output a"),
        ("b", "train_manifest.json", "sounds/table.csv", "prepare folder --source sounds --table {} --output b"),
        ("c", "test_left_out.tsv", "run/config.yaml", "prepare folder --source sounds --config {} --output c --split"),
    ):
        (here / folder).mkdir()
        shutil.copy(here / source, here / folder / name)
        before = contents(here)
        command += " test=0.5 --split-by utterance" if command.endswith("--split") else ""
        line = refused(capfd, f"{command.format(here / folder / name)} --overwrite")
        assert "is the same file as" in line and contents(here) == before
    capfd.readouterr()
    assert export.main(["run", "--output", "./run"]) == 2
    assert capfd.readouterr().err.count("\n") == 1 and not (here / "run" / "1").exists()


def test_a_file_on_standard_output_stands_there_alone(here, capfd):
    """The report goes to stderr then; "-" is no file of that name."""
    assert main("evaluate --model run --manifest m.jsonl --json - --output p.jsonl".split()) == 0
    out, err = capfd.readouterr()
    assert json.loads(out)["utterances"] == 1 and "WER" in err
    assert main("evaluate --model run --manifest m.jsonl".split()) == 0
    assert "WER" in capfd.readouterr().out
    assert main("check --manifest m.jsonl --write-clean -".split()) == 0
    assert capfd.readouterr().out == (here / "m.jsonl").read_text()
    assert "is the same file as" in refused(capfd, "check --manifest m.jsonl --list - --write-clean -")
    assert not (here / "-").exists()


@pytest.mark.medium
def test_devices_and_pipes(here):
    """A link to a terminal, /dev/fd/N as the shell's >(command) gives it, a pipe with a name, /dev/stdout."""
    controller, device = os.openpty()  # where not even root could replace a device by a file
    (here / "report.json").symlink_to(os.ttyname(device))
    read, write = os.pipe()
    evaluate = f"evaluate --model run --manifest m.jsonl --json report.json --output /dev/fd/{write}"
    assert main(evaluate.split()) == 0
    os.close(write)
    with open(read) as pipe:
        assert json.loads(pipe.read())["text"] == "abc"
    written = b""
    while b"}" not in written:  # a terminal gives what it has
        written += os.read(controller, 4000)
    assert json.loads(written)["utterances"] == 1 and (here / "report.json").is_symlink()
    os.mkfifo(here / "list")
    faults = subprocess.Popen(["cat", "list"], stdout=subprocess.PIPE)
    check = [sys.executable, "-m", "jasper_tf", *"check --manifest m.jsonl --list list --write-clean".split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([*check, "/dev/stdout"], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0 and done.stdout == (here / "m.jsonl").read_text(), done.stderr
    assert "lines without a fault" in done.stderr
    assert faults.communicate(timeout=60) == (b"", None) and (here / "list").is_fifo()
    os.close(controller)
    os.close(device)
    assert not list(here.rglob(".*"))
