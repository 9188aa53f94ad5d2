"""`tokenizer train` as a command."""

import json
import subprocess
import sys

import pytest

from jasper_tf.text.read_tokenizer import read_tokenizer


def run(*arguments):
    command = [sys.executable, "-m", "jasper_tf", "tokenizer", "train", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def texts(shared):
    return shared / "golden" / "bpe" / "texts.txt"


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_trains_a_folder_as_nemos(texts, tmp_path, kind):
    done = run("--text", texts, "--vocab-size", 100, "--type", kind, "--output", tmp_path / "tok")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("100 pieces of 948 texts")
    assert sorted(file.name for file in (tmp_path / "tok").iterdir()) == [
        "tokenizer.model",
        "tokenizer.vocab",
        "vocab.txt",
    ]
    tokenizer = read_tokenizer(tmp_path / "tok", "bpe")
    assert len(tokenizer) == 100 and tokenizer.model.algorithm == kind
    assert tokenizer.vocabulary[0] == "<unk>" and not tokenizer.model.controls
    assert tokenizer.decode(tokenizer.encode("ENTER six")) == "enter six"
    again = run("--text", texts, "--vocab-size", 100, "--type", kind, "--output", tmp_path / "tok")
    assert again.returncode == 2 and "--overwrite" in again.stderr


def test_the_same_sample_in_each_process(texts, tmp_path):
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        given = ["--text", texts, "--vocab-size", 60, "--sample-size", 100, "--seed", seed, "--output", tmp_path / name]
        assert run(*given).returncode == 0
    first, again, other = ((tmp_path / name / "tokenizer.vocab").read_bytes() for name in "abc")
    assert first == again != other


@pytest.mark.medium
def test_the_texts_of_a_manifest_in_their_case(tmp_path):
    lines = [{"audio_filepath": "a.wav", "duration": 1.0, "text": text} for text in ("Hello you", "Yes you Can")]
    (tmp_path / "a.wav").touch()
    (tmp_path / "train.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    done = run(
        "--manifest", tmp_path / "train.json", "--vocab-size", 15, "--keep-case", "--type", "char", "--output",
        tmp_path / "tok",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert {"H", "Y", "C", "c"} & read_tokenizer(tmp_path / "tok", "bpe").characters == {"H", "Y", "C"}


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["--vocab-size", 1], "--vocab-size 1: must be at least 3"),
        (["--character-coverage", 0.97], "--character-coverage 0.97"),
        (["--vocab-size", 10], "--vocab-size 10: the characters of the texts"),
        (["--output", __file__], "is a file, give a folder"),
    ],
)
def test_wrong_use_is_one_line(texts, tmp_path, arguments, reason):
    done = run("--text", texts, "--output", tmp_path / "tok", *arguments)
    assert done.returncode == 2
    assert reason in done.stderr and done.stderr.count("\n") == 1
    assert not (tmp_path / "tok").exists()
