"""Text files as lines and word ids."""

import gzip

import pytest

from jasper_tf.errors import UserError
from jasper_tf.language_model.corpus import read_corpus, text_lines

LINES = [("{}:1", b"a  b\n"), ("{}:2", b"\n"), ("{}:3", b"b c")]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_lines_with_their_places(tmp_path, pack):
    path = tmp_path / "text"
    path.write_bytes(pack(b"".join(line for _, line in LINES)))
    assert list(text_lines([path])) == [(place.format(path), line) for place, line in LINES]
    assert len(list(text_lines([path, path]))) == 6


@pytest.mark.parametrize(("unit", "words"), [("word", ["a", "b", "c"]), ("label", ["a", "|", "b", "c"])])
def test_ids_in_the_order_of_appearance(unit, words):
    corpus = read_corpus(LINES, unit)
    assert corpus.vocabulary == ["<unk>", "<s>", "</s>", *words]
    texts = [["a", "b"], [], ["b", "c"]] if unit == "word" else [["a", "|", "b"], [], ["b", "|", "c"]]
    expected = [word for text in texts for word in ("<s>", *text, "</s>")]
    assert [corpus.vocabulary[at] for at in corpus.ids] == expected


def test_files_that_are_no_text(tmp_path, monkeypatch):
    path = tmp_path / "text"
    path.write_bytes(gzip.compress(b"a b\n" * 100)[:-9])
    with pytest.raises(UserError, match="gzip"):
        list(text_lines([path]))
    monkeypatch.setattr("jasper_tf.language_model.corpus.LONGEST_LINE", 10)
    path.write_bytes(b"short\n" + b"long" * 10)
    with pytest.raises(UserError, match=r"text:2: longer"):
        list(text_lines([path]))
    for wrong in (tmp_path, tmp_path / "absent", "a\0b"):
        with pytest.raises(UserError, match="cannot read"):
            list(text_lines([wrong]))
