import numpy as np
import pytest

from jasper_tf.data.batches.mixture import Mixture
from jasper_tf.errors import UserError


def counts(mixture, epoch):
    index = mixture.members(epoch)
    ends = np.cumsum(mixture.sizes)
    return np.bincount(np.searchsorted(ends, index, "right"), minlength=len(ends)).tolist()


def test_weights_are_shares_of_an_epoch():
    mixture = Mixture([100, 300], [3, 1])
    assert [counts(mixture, epoch) for epoch in range(3)] == [[300, 100]] * 3
    assert counts(Mixture([100, 300], [4, 1], temperature=0.5), 0) == [267, 133]
    assert counts(Mixture([100, 300], [9, 1], temperature=0), 0) == [200, 200]
    assert counts(Mixture([100, 300, 7], [1, 0, 1]), 0) == [204, 0, 203]


def test_weights_of_the_sizes_are_every_utterance_once():
    mixture = Mixture([5, 8], [5, 8])
    for epoch in range(3):
        assert sorted(mixture.members(epoch)) == list(range(13))
    assert mixture.members(0).tolist() != mixture.members(1).tolist()


def test_all_utterances_of_a_set_come_equally_often_over_the_epochs():
    mixture = Mixture([10, 30], [1, 2])
    drawn = np.concatenate([mixture.members(epoch) for epoch in range(6)])
    for first, last in ((0, 10), (10, 40)):
        times = np.bincount(drawn, minlength=40)[first:last]
        assert times.max() - times.min() <= 1 and times.min() > 0


def test_a_pure_function_of_seed_and_epoch():
    def members(seed, epoch):
        return Mixture([10, 30], [1, 2], seed=seed).members(epoch).tolist()

    assert members(1, 4) == members(1, 4)
    assert len({tuple(members(seed, epoch)) for seed in (1, 2) for epoch in (4, 5)}) == 4


def test_mistakes():
    with pytest.raises(UserError, match="no weight is above 0"):
        Mixture([3, 4], [0, 0])
    with pytest.raises(UserError, match="holds no utterance"):
        Mixture([3, 0], [1, 1])
    assert len(Mixture([3, 0], [1, 0]).members(0)) == 3
