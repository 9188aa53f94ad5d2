from jasper_tf.text.bpe_dropout import merge_randomly

SCORES = {"a": -9.0, "b": -9.0, "ab": 0.0, "aba": -1.0, "bab": -2.0, "abab": -3.0}


def test_the_best_piece_is_joined_first_and_of_equal_ones_the_left():
    assert merge_randomly("ababa", SCORES, frozenset(), 0.0, 0) == ["ab", "aba"]
    assert merge_randomly("ababab", SCORES, frozenset(), 0.0, 0) == ["abab", "ab"]
    assert merge_randomly(["a", "ab", "b"], SCORES, frozenset(["ab"]), 0.0, 0) == ["a", "ab", "b"]
    assert merge_randomly("", SCORES, frozenset(), 0.5, 0) == []
    assert merge_randomly("abab", SCORES, frozenset(), 1.0, 0) == [*"abab"]


def test_the_same_in_each_process():
    found = [merge_randomly("ababab", SCORES, frozenset(), 0.5, seed) for seed in range(4)]
    assert found == [["abab", "a", "b"], ["a", "b", "ab", "ab"], ["abab", "a", "b"], ["a", "b", "abab"]]
