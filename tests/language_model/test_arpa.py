"""ARPA files: what is written is read again, and every broken file is refused with its line."""

import gzip
import pickle

import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.language_model.arpa import ArpaError, read_arpa, write_arpa

GOOD = """\\data\\
ngram 1=5
ngram 2=3
ngram 3=1

\\1-grams:
-1\t<unk>\t0
0\t<s>\t-0.3
-0.7\t</s>\t0
-0.5\ta\t-0.2
-0.6\té\t0

\\2-grams:
-0.1\t<s> a\t0
-0.2\ta é\t0
-0.3\ta a\t-0.1

\\3-grams:
-0.05\t<s> a é

\\end\\
"""


@pytest.fixture
def arpa(tmp_path):
    def write(text):
        (tmp_path / "lm.arpa").write_bytes(text if isinstance(text, bytes) else text.encode())
        return tmp_path / "lm.arpa"

    return write


def test_reads_each_line(arpa, rows):
    model = read_arpa(arpa(GOOD))
    assert model.vocabulary == ["<unk>", "<s>", "</s>", "a", "é"]
    assert rows(model) == {
        tuple(words.split()): (pytest.approx(prob), pytest.approx(backoff))
        for prob, words, backoff in [
            (-1, "<unk>", 0),
            (0, "<s>", -0.3),
            (-0.7, "</s>", 0),
            (-0.5, "a", -0.2),
            (-0.6, "é", 0),
            (-0.1, "<s> a", 0),
            (-0.2, "a é", 0),
            (-0.3, "a a", -0.1),
            (-0.05, "<s> a é", 0),
        ]
    }


@pytest.mark.parametrize("name", ["lm.arpa", "lm.arpa.gz"])
def test_written_and_read_again(arpa, tmp_path, name, rows):
    model = read_arpa(arpa(GOOD))
    write_arpa(model, tmp_path / name)
    first = (tmp_path / name).read_bytes()
    assert rows(read_arpa(tmp_path / name)) == rows(model)
    write_arpa(read_arpa(tmp_path / name), tmp_path / name)
    assert (tmp_path / name).read_bytes() == first


def test_a_model_of_another_program_reads_the_same_after_writing(shared, tmp_path):
    model = read_arpa(shared / "decoding" / "lm" / "tiny_3gram.arpa.gz")
    write_arpa(model, tmp_path / "lm.arpa")
    again = read_arpa(tmp_path / "lm.arpa")
    for n in range(model.order):
        np.testing.assert_allclose(again.orders[n].log10_probs, model.orders[n].log10_probs, atol=1e-6)
        np.testing.assert_array_equal(again.ngram_ids(n + 1), model.ngram_ids(n + 1))


@pytest.mark.parametrize(
    "text",
    [
        GOOD.replace("\n", "\r\n"),
        GOOD.replace("\t", " "),
        GOOD.replace("\n\\2", "\n\n\n\\2"),
        GOOD.rstrip("\n"),
        "\n" + GOOD,
        "# Input file: text\n# Smoothing: Modified Kneser-Ney\n" + GOOD,
        GOOD.replace("-0.6\té\t0", "-0.6\té"),
        GOOD.replace("-0.2\ta é\t0", "-0.2\ta é"),
        gzip.compress(GOOD.encode()),
    ],
)
def test_other_spellings_of_the_same_model(arpa, text, rows):
    expected = rows(read_arpa(arpa(GOOD)))
    assert rows(read_arpa(arpa(text))) == expected


def test_blocks_end_anywhere(arpa, monkeypatch, rows):
    expected = rows(read_arpa(arpa(GOOD)))
    for size in (32, 33, 40, 77):
        monkeypatch.setattr("jasper_tf.language_model.arpa._BLOCK", size)
        assert rows(read_arpa(arpa(GOOD))) == expected


def test_a_closed_vocabulary_gets_an_unknown_word_as_in_kenlm(arpa, rows):
    model = read_arpa(arpa(GOOD.replace("ngram 1=5", "ngram 1=4").replace("-1\t<unk>\t0\n", "")))
    assert rows(model)[("<unk>",)] == (-100, 0)
    assert len(rows(model)) == 9
    assert ("<unk>",) in rows(read_arpa(arpa(GOOD.replace("<unk>", "<UNK>"))))


def test_a_pruned_model_may_lack_a_suffix(arpa, rows):
    text = GOOD.replace("ngram 2=3", "ngram 2=2").replace("-0.2\ta é\t0\n", "")
    assert len(rows(read_arpa(arpa(text)))) == 8


@pytest.mark.parametrize(
    ("text", "line", "word"),
    [
        ("", 1, "empty"),
        ("a b c\n", 1, "not an ARPA"),
        (b"\x00\xff" * 100, 1, "not an ARPA"),
        (GOOD.replace("ngram 2=3\n", "ngram 3=3\n", 1), 3, "2-grams"),
        (GOOD.replace("ngram 2=3\n", "ngram two\n"), 3, "no count"),
        ("\\data\\\n", 1, "cut"),
        ("\\data\\\n\n\\1-grams:\n", 2, "0 orders"),
        ("\\data\\\n" + "".join(f"ngram {n}=1\n" for n in range(1, 12)) + "\n\\1-grams:\n", 13, "11 orders"),
        (GOOD.replace("ngram 1=5", "ngram 1=999999999999"), 5, "n-grams"),
        (GOOD.replace("ngram 1=5", "ngram 1=6"), 13, "cut"),
        (GOOD.replace("ngram 2=3", "ngram 2=2"), 14, "more 2-grams"),
        (GOOD[: GOOD.index("\\3-grams")], 18, "cut"),
        (GOOD[: GOOD.index("\\end")], 21, "cut"),
        (GOOD.replace("\\2-grams:", "\\3-grams:", 1), 13, "\\2-grams:"),
        (GOOD.replace("-0.5\ta", "nan\ta"), 10, "p = nan"),
        (GOOD.replace("-0.5\ta", "-inf\ta"), 10, "p = -inf"),
        (GOOD.replace("-0.5\ta", "0.5\ta"), 10, "p = 0.5"),
        (GOOD.replace("a\t-0.2", "a\tinf"), 10, "back-off inf"),
        (GOOD.replace("-0.5\ta", "half\ta"), 10, "no number"),
        (GOOD.replace("-0.3\ta a", "-0.3\ta b"), 16, "'b'"),
        (GOOD.replace("-0.3\ta a", "-0.3\ta a a"), 16, "5 fields"),
        (GOOD.replace("-0.3\ta a", "-0.3\ta a a a"), 16, "6 fields"),
        (GOOD.replace("-0.05\t<s> a é", "-0.05\t<s> a é\t0"), 19, "5 fields"),
        (GOOD.replace("-0.6\té", "-0.6\ta"), 11, "twice"),
        (GOOD.replace("-0.3\ta a", "-0.3\ta é"), 16, "twice"),
        (
            GOOD.replace("<s> a é", "a a é").replace("ngram 2=3", "ngram 2=2").replace("-0.3\ta a\t-0.1\n", ""),
            18,
            "first 2",
        ),
        (GOOD.replace("<s>", "s"), 13, "no <s>"),
        (GOOD.replace("</s>", "e"), 13, "no </s>"),
        (GOOD.encode().replace("é".encode(), b"\xe9"), 11, "UTF-8"),
        (GOOD.replace("-0.5\ta", "-0.5\t" + "a" * 3_000_000), 10, "longer"),
    ],
)
def test_a_broken_file_is_refused_with_its_line(arpa, text, line, word):
    with pytest.raises(ArpaError) as caught:
        read_arpa(arpa(text))
    assert caught.value.line == line, caught.value
    assert word in caught.value.detail
    assert "\n" not in str(caught.value) and "\\x" not in str(caught.value)
    assert pickle.loads(pickle.dumps(caught.value)).line == line


def test_files_that_cannot_be_read(arpa, tmp_path):
    packed = gzip.compress(GOOD.encode())
    for content in (packed[:-20], packed[:30] + b"xxxx" + packed[34:]):
        with pytest.raises(UserError, match="gzip"):
            read_arpa(arpa(content))
    for path in (tmp_path, tmp_path / "absent", "a\0b"):
        with pytest.raises(UserError, match="cannot read"):
            read_arpa(path)
