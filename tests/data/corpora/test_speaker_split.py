"""split_by_group: no speaker in two sets, shares near what was asked, the same for the same seed."""

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from jasper_tf.data.corpora.speaker_split import parse_shares, split_by_group
from jasper_tf.errors import UserError


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 30), st.floats(0.1, 20)), min_size=1, max_size=200),
    st.sampled_from(["dev=0.1,test=0.1", "dev=0.4", "dev=0.5,test=0.5", "a=0.98,b=0.01"]),
    st.integers(0, 3),
)
@example([(2, 7.0), (0, 9.859798780973003), (1, 9.859798780973003)], "dev=0.5,test=0.5", 1)  # sums differ by order
def test_no_group_is_in_two_sets_and_no_set_is_empty(items, shares, seed):
    groups, weights = zip(*items, strict=True)
    shares = parse_shares(shares)
    wanted = {*shares, *(["train"] if sum(shares.values()) < 1 else [])}
    if len(set(groups)) < len(wanted):
        with pytest.raises(UserError, match="cannot be split"):
            split_by_group(groups, weights, shares, seed)
        return
    names = split_by_group(groups, weights, shares, seed)
    assert set(names) == wanted
    assert len({(group, name) for group, name in zip(groups, names, strict=True)}) == len(set(groups))
    assert names == split_by_group(groups, weights, shares, seed)
    # The order of the items does not matter.
    assert names[::-1] == split_by_group(groups[::-1], weights[::-1], shares, seed)


def test_shares_are_of_the_weight_and_the_seed_draws():
    groups = [i % 100 for i in range(1000)]
    weights = [1.0 + i % 7 for i in range(1000)]
    drawn = set()
    for seed in range(5):
        names = split_by_group(groups, weights, {"dev": 0.1, "test": 0.2}, seed)
        for name, share in (("dev", 0.1), ("test", 0.2), ("train", 0.7)):
            got = sum(w for w, n in zip(weights, names, strict=True) if n == name) / sum(weights)
            assert got == pytest.approx(share, abs=0.01)
        drawn.add(tuple(names))
    assert len(drawn) == 5


@pytest.mark.parametrize(
    "text", ["dev", "dev=", "dev=x", "=0.1", "dev=0", "dev=1.5", "dev=nan", "a/b=0.1", "dev=0.1,,"]
)
def test_shares_that_are_none(text):
    with pytest.raises(UserError, match="is not NAME=SHARE"):
        parse_shares(text)


def test_shares_that_do_not_fit_together():
    for text, said in (("dev=0.6,test=0.6", "more than 1"), ("dev=0.1,dev=0.1", "twice"), ("train=0.5", "is the rest")):
        with pytest.raises(UserError, match=said):
            parse_shares(text)
