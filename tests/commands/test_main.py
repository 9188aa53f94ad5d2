"""python -m jasper_tf: the list of verbs, and what a user's mistake looks like."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import jasper_tf
from jasper_tf.__main__ import find_verbs, read_help

REPOSITORY = Path(__file__).resolve().parents[2]


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "jasper_tf", *arguments],
        cwd=REPOSITORY,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def assert_user_error(done: subprocess.CompletedProcess, *parts: str) -> None:
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: "), done.stderr
    for part in parts:
        assert part in lines[0]


@pytest.mark.parametrize("verb", find_verbs())
def test_every_verb_keeps_the_protocol(verb):
    file = find_verbs()[verb]
    text = read_help(file)
    assert text and "\n" not in text and len(text) <= 120
    done = run(verb, "--help")
    assert done.returncode == 0, done.stderr
    assert f"python -m jasper_tf {verb}" in done.stdout
    assert text[:30] in " ".join(done.stdout.split())


def test_help_lists_the_verbs():
    done = run("--help")
    assert done.returncode == 0 and done.stderr == ""
    for verb in ("doctor", "make-demo-corpus"):
        assert f"  {verb} " in done.stdout


MANIFESTS = "model.train_ds.manifest_filepath=absent.jsonl model.validation_ds.manifest_filepath=absent.jsonl"
LIGHT = [  # what is said before TensorFlow loads
    "--help",
    "--version",
    *(f"{verb} --help" for verb in find_verbs()),
    "config list",
    "config validate quartznet.yaml",
    "config show quartznet.yaml",
    "train absent.yaml",
    "train an4.yaml",
    f"train an4.yaml {MANIFESTS}",
    "tune absent.yaml",
    f"tune tune.yaml {MANIFESTS}",
    "check --config absent.yaml",
    "check --manifest absent.jsonl",
    f"check --config an4.yaml {MANIFESTS}",
    "estimate-buckets --manifest absent.jsonl",
    "estimate-normalization absent.yaml",
    "shard --manifest absent.jsonl --output new",
    "evaluate --model absent --manifest absent.jsonl",
    "evaluate --model . --manifest absent.jsonl",
    "transcribe --model absent absent.wav",
    "export absent --output new",
    "export-nemo --model absent --output new.nemo",
    "import-nemo absent.nemo --output new",
    "average-checkpoints absent --output new.keras",
]


def test_neither_help_nor_a_missing_input_waits_for_tensorflow(tmp_path):
    code = """
import contextlib, sys
from jasper_tf.__main__ import main
for command in sys.argv[1:]:
    try:
        status = main(command.split())
    except SystemExit as stop:
        status = stop.code
    loaded = [name for name in ("tensorflow", "keras") if name in sys.modules]
    print("#", command, "#", status, *loaded)
"""
    command = [sys.executable, "-c", code, *LIGHT]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    found = dict(line[2:].split(" # ") for line in done.stdout.splitlines() if line.startswith("# "))
    assert found == {command: "2" if "absent" in command or command == "train an4.yaml" else "0" for command in LIGHT}
    assert list(tmp_path.iterdir()) == []


def test_no_verb():
    done = run()
    assert done.returncode == 2 and done.stdout == "" and "usage: python -m jasper_tf VERB" in done.stderr


def test_version():
    done = run("--version")
    assert done.returncode == 0 and done.stdout == f"jasper-tf {jasper_tf.__version__}\n"


def test_unknown_verb_names_the_nearest():
    assert_user_error(run("docter"), "'docter'", "did you mean doctor?")


def test_unknown_verb_like_none_lists_them():
    assert_user_error(run("xyzzy"), "'xyzzy'", "make-demo-corpus")


@pytest.mark.parametrize("name", ["__init__", "errors", "../errors", ""])
def test_names_that_are_no_verbs(name):
    assert_user_error(run(name), "unknown verb")


def test_make_demo_corpus(tmp_path):
    done = run("make-demo-corpus", "--output", str(tmp_path / "a/b"), "--train", "3", "--dev", "0", "--test", "2")
    assert done.returncode == 0, done.stderr
    manifests = [Path(line) for line in done.stdout.splitlines()]
    assert [manifest.name for manifest in manifests] == ["train.jsonl", "test.jsonl"]
    entries = [json.loads(line) for line in manifests[0].read_text().splitlines()]
    assert len(entries) == 3
    assert all((tmp_path / "a/b" / entry["audio_filepath"]).is_file() for entry in entries)


def test_make_demo_corpus_into_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    assert_user_error(run("make-demo-corpus", "--output", str(tmp_path / "file")), "--output", "file")


def test_make_demo_corpus_negative_count(tmp_path):
    assert_user_error(run("make-demo-corpus", "--output", str(tmp_path), "--train", "-1"), "train=-1")


@pytest.mark.parametrize(
    "arguments, parts",
    [
        (["make-demo-corpus"], ["--output", "--help"]),
        (["make-demo-corpus", "--outptu", "a", "--output", "b"], ["--outptu", "did you mean --output?"]),
        (["make-demo-corpus", "--output"], ["--output"]),
        (["make-demo-corpus", "--output", "a", "--train", "many"], ["--train", "many"]),
        (["lm", "build", "--unit", "wrod"], ["--unit", "'wrod'", "did you mean word?"]),
        (["check", "--runner", "spak"], ["--runner", "'spak'", "did you mean spark?"]),
        (["lm", "bulid"], ["'bulid'", "did you mean build?"]),
        (["lm"], ["ACTION", "--help"]),
    ],
)
def test_wrong_arguments_are_named_in_one_line(arguments, parts):
    assert_user_error(run(*arguments), *parts)
