"""Dotted keys of a nested configuration."""

from jasper_tf.config.flatten import differences, flatten


def test_flatten():
    tree = {"a": {"b": 1, "c": {}}, "blocks": [{"filters": 2}, {"filters": [3]}], "betas": [0.8, 0.5]}
    assert flatten(tree) == {"a.b": 1, "blocks.0.filters": 2, "blocks.1.filters": [3], "betas": [0.8, 0.5]}


def test_differences():
    before = {"lr": 0.1, "blocks": [{"filters": 2}], "same": [1]}
    now = {"lr": 0.2, "noise": None, "blocks": [{"filters": 2}, {"filters": 3}], "same": [1]}
    assert differences(before, now) == [("blocks.1.filters", "(absent)", 3), ("lr", 0.1, 0.2)]
