import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.text.vocabulary import Vocabulary

LABELS = [" ", "a", "b", "'", "é"]


def test_encode_and_decode_are_inverse():
    vocabulary = Vocabulary(LABELS)
    ids = vocabulary.encode("ab é'a")
    np.testing.assert_array_equal(ids, [1, 2, 0, 4, 3, 1])
    assert ids.dtype == np.int32
    assert vocabulary.decode(ids) == "ab é'a"
    assert vocabulary.encode("").shape == (0,) and vocabulary.encode("").dtype == np.int32


def test_blank_comes_after_the_last_label():
    vocabulary = Vocabulary(LABELS)
    assert vocabulary.blank == len(vocabulary) == 5


def test_unknown_lists_every_occurrence():
    assert Vocabulary(LABELS).unknown("axbx-A") == ["x", "x", "-", "A"]
    assert Vocabulary(LABELS).unknown("ab") == []


def test_encode_names_the_unknown_character():
    with pytest.raises(UserError, match="'x' of 'axb'"):
        Vocabulary(LABELS).encode("axb")


@pytest.mark.parametrize("ids", [[5], [-1]])
def test_decode_refuses_blanks_and_padding(ids):
    with pytest.raises(ValueError, match="is not a character"):
        Vocabulary(LABELS).decode(ids)


@pytest.mark.parametrize(
    ("labels", "reason"),
    [([], "empty"), (["a", "ch"], "'ch' is not one character"), (["a", 1], "1 is not"), (["a", "b", "a"], "'a' is")],
)
def test_wrong_labels(labels, reason):
    with pytest.raises(UserError, match=reason):
        Vocabulary(labels)
