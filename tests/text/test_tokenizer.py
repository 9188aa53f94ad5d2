import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.text.tokenizer import CharacterTokenizer, tokenizer_from_config

LABELS = [" ", "a", "b", "'", "é"]


def test_encode_and_decode_are_inverse():
    tokenizer = CharacterTokenizer(LABELS)
    ids = tokenizer.encode("ab é'a")
    np.testing.assert_array_equal(ids, [1, 2, 0, 4, 3, 1])
    assert ids.dtype == np.int32
    assert tokenizer.decode(ids) == "ab é'a"
    assert tokenizer.encode("").shape == (0,) and tokenizer.encode("").dtype == np.int32


def test_the_graph_decodes_as_python_does():
    tokenizer = CharacterTokenizer(LABELS)
    texts = ["ab é'a", "", "  b"]
    ids = np.full((3, 8), -1, np.int32)
    for row, text in zip(ids, texts, strict=True):
        row[: len(text)] = tokenizer.encode(text)
    assert [text.decode() for text in tokenizer.decode_in_graph(ids).numpy()] == texts
    assert tokenizer.decode_in_graph(ids[:, :0]).numpy().tolist() == [b"", b"", b""]


def test_a_space_starts_a_word():
    tokenizer = CharacterTokenizer(LABELS)
    assert tokenizer.starts_word.tolist() == [True, False, False, False, False]
    assert tokenizer.word_pieces == ("", "a", "b", "'", "é")
    assert len(tokenizer) == 5


def test_out_of_vocabulary_lists_every_occurrence():
    assert CharacterTokenizer(LABELS).out_of_vocabulary("axbx-A") == ["x", "x", "-", "A"]
    assert CharacterTokenizer(LABELS).out_of_vocabulary("ab") == []


def test_encode_names_the_character():
    with pytest.raises(UserError, match="'x' of 'axb'"):
        CharacterTokenizer(LABELS).encode("axb")


def test_config():
    tokenizer = tokenizer_from_config(CharacterTokenizer(LABELS).get_config())
    assert tokenizer.pieces == tuple(LABELS)
    with pytest.raises(UserError, match="phones"):
        tokenizer_from_config({"type": "phones"})


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([], "empty"), (["a", "ch"], "'ch' is not one character"), (["a", 1], "1 is not"), (["a", "b", "a"], "'a' is")],
)
def test_wrong_labels(labels, reason):
    with pytest.raises(UserError, match=reason):
        CharacterTokenizer(labels)
