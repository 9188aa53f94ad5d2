"""python -m jasper_tf lm."""

import gzip
import json
import re
import subprocess
import sys

import pytest

from jasper_tf.language_model.arpa import read_arpa

LINES = ["the cat sat", "the dog sat", "a cat ran", "the cat ran home", "a dog"]


@pytest.fixture
def lm(tmp_path):
    def lm(*arguments):
        command = [sys.executable, "-m", "jasper_tf", "lm", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)

    return lm


@pytest.fixture
def text(tmp_path):
    (tmp_path / "text.txt").write_text("".join(line + "\n" for line in LINES))
    return tmp_path / "text.txt"


def test_build_perplexity_prune(lm, text, tmp_path):
    built = lm("build", "--text", text, "--order", 3, "--output", "lm.arpa.gz", "--discount-fallback")
    assert (built.returncode, built.stderr) == (0, "")
    model = read_arpa(tmp_path / "lm.arpa.gz")
    assert model.order == 3 and set(" ".join(LINES).split()) < set(model.vocabulary)
    assert f"{len(model.orders[2])} 3-grams" in built.stdout

    scored = lm("perplexity", "--lm", "lm.arpa.gz", "--text", text)
    assert (scored.returncode, scored.stderr) == (0, "")
    assert "words 15, unknown 0" in scored.stdout
    assert 2 < float(re.search(r"perplexity ([\d.]+)", scored.stdout)[1]) < 8

    pruned = lm("prune", "--lm", "lm.arpa.gz", "--threshold", "0.03", "--output", "small.arpa")
    assert (pruned.returncode, pruned.stderr) == (0, "")
    smaller = read_arpa(tmp_path / "small.arpa")
    assert sum(map(len, smaller.orders)) < sum(map(len, model.orders))


def test_texts_are_plain_or_packed_and_one_after_the_other(lm, text, tmp_path):
    (tmp_path / "a.gz").write_bytes(gzip.compress("".join(line + "\n" for line in LINES[:2]).encode()))
    (tmp_path / "b.txt").write_text("\n".join(LINES[2:]))
    for source, output in (([text], "one.arpa"), (["a.gz", "b.txt"], "two.arpa")):
        found = lm("build", "--text", *source, "--output", output, "--discount-fallback")
        assert found.returncode == 0, found.stderr
    assert (tmp_path / "one.arpa").read_bytes() == (tmp_path / "two.arpa").read_bytes()


@pytest.mark.medium
def test_the_texts_of_a_manifest(lm, text, tmp_path):
    (tmp_path / "a.wav").write_bytes(b"its header is not read")
    lines = [{"audio_filepath": "a.wav", "duration": 1, "text": line} for line in [*LINES, " "]]
    (tmp_path / "m.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    for source, output in ((("--text", text), "one.arpa"), (("--from-manifest", "m.json"), "two.arpa")):
        found = lm("build", *source, "--output", output, "--discount-fallback", "--unit", "label")
        assert found.returncode == 0, found.stderr
    assert (tmp_path / "one.arpa").read_bytes() == (tmp_path / "two.arpa").read_bytes()
    assert set(read_arpa(tmp_path / "one.arpa").vocabulary) == {*"the|catsdogrnm", "<unk>", "<s>", "</s>"}


def test_labels_need_no_discounts(lm, text, tmp_path):
    found = lm("build", "--text", text, "--output", "lm.arpa", "--unit", "label")
    assert found.returncode == 0, found.stderr
    lm("build", "--text", text, "--output", "same.arpa", "--unit", "label", "--discount-fallback")
    assert (tmp_path / "lm.arpa").read_bytes() == (tmp_path / "same.arpa").read_bytes()


def test_only_some_words(lm, text, tmp_path):
    (tmp_path / "words.txt").write_text("the cat\nhorse\n")
    for option, words in (
        (("--limit-vocab", "words.txt"), {"the", "cat"}),
        (("--min-word-count", 3), {"the", "cat"}),
        (("--prune", 1), {"the", "cat", "dog", "sat", "ran", "a"}),
    ):
        arguments = ("--text", text, "--order", 2, *option, "--output", "lm.arpa", "--discount-fallback", "--overwrite")
        found = lm("build", *arguments)
        assert found.returncode == 0, found.stderr
        assert set(read_arpa(tmp_path / "lm.arpa").vocabulary) == {*words, "<unk>", "<s>", "</s>"}


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("build", "--text", "text.txt", "--output", "lm.arpa", "--order", "0"), "order 0"),
        (("build", "--text", "text.txt", "--output", "lm.arpa", "--order", "11"), "order 11"),
        (("build", "--text", "text.txt", "--output", "lm.arpa", "--prune", "2", "1"), "prune 2 1"),
        (("build", "--text", "text.txt", "--output", "lm.arpa"), "--discount-fallback"),
        (("build", "--text", "empty.txt", "--output", "lm.arpa"), "empty.txt: holds no word"),
        (("build", "--text", "absent.txt", "--output", "lm.arpa"), "absent.txt"),
        (("build", "--text", "text.txt", "--output", "text.txt", "--overwrite"), "is read"),
        (("build", "--text", "text.txt", "--output", "other.arpa", "--discount-fallback"), "exists already"),
        (("build", "--text", "text.txt", "--output", "noted.txt", "--overwrite"), "not what this command writes"),
        pytest.param(
            ("build", "--from-manifest", "text.txt", "--output", "lm.arpa"), "text.txt:1", marks=pytest.mark.medium
        ),
        (("perplexity", "--lm", "text.txt", "--text", "text.txt"), "not an ARPA"),
        (("perplexity", "--lm", "other.arpa", "--text", "text.txt"), "cut"),
        (("prune", "--lm", "absent.arpa", "--threshold", "1e-8", "--output", "lm.arpa"), "absent.arpa"),
    ],
)
def test_wrong_use_is_one_line(lm, text, tmp_path, arguments, word):
    (tmp_path / "empty.txt").touch()
    (tmp_path / "noted.txt").write_text("my notes")
    (tmp_path / "other.arpa").write_text("\\data\\\nngram 1=3\n\n\\1-grams:\n-1\t<s>\n")
    before = (tmp_path / "other.arpa").read_bytes()
    found = lm(*arguments)
    assert found.returncode == 2
    assert found.stderr.startswith("error: ") and found.stderr.count("\n") == 1
    assert word in found.stderr
    assert not (tmp_path / "lm.arpa").exists() and (tmp_path / "other.arpa").read_bytes() == before
