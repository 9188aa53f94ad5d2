"""Words against labels."""

from jasper_tf.language_model.spelling import is_over_labels, label_word_ids, share_spelled

LABELS = [" ", "a", "b", "'"]
SPECIAL = ["<unk>", "<s>", "</s>"]


def test_words_are_spelled_with_the_labels():
    assert share_spelled([*SPECIAL, "ab", "a'b", "dog", "b"], LABELS) == 0.75
    assert share_spelled(SPECIAL, LABELS) == 0
    assert share_spelled(["|", "a"], LABELS) == 1
    assert share_spelled(["|", "a"], ["a", "b"]) == 0.5


def test_a_model_over_labels_is_told_from_one_over_words():
    assert is_over_labels([*SPECIAL, "a", "|", "é"], LABELS)
    assert not is_over_labels([*SPECIAL, "a", "ab"], LABELS)
    assert is_over_labels([*SPECIAL, "▁the", "s"], ["▁the", "s"])


def test_labels_have_their_words_and_the_space_is_a_bar():
    assert label_word_ids([*SPECIAL, "b", "|"], LABELS).tolist() == [4, 0, 3, 0]
