"""Several training sets in one: how often each is drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from jasper_tf.errors import UserError


class Mixture:
    """Draws from sets in proportion to `weight ** temperature` (NeMo's `input_cfg` and `reweight_temperature`).

    An epoch has as many utterances as the sets have together. Each set is passed through again and again, every pass
    in an order of its own, and an epoch begins where the last one ended: over time all utterances of a set come equally
    often. What an epoch holds is a pure function of (seed, epoch).

    Args:
        sizes: [sets] utterances of each set; set k begins where set k - 1 ends.
        weights: [sets] relative weights, 0 for a set that is not used.
        temperature: 1 takes the weights as they are, 0 makes all sets equal.
        seed: of the orders.

    Raises:
        UserError: no weight is above 0, or a set with a weight is empty.
    """

    def __init__(self, sizes: Sequence[int], weights: Sequence[float], temperature: float = 1.0, seed: int = 0):
        self.sizes = np.array(sizes, np.int64)
        self.seed = seed
        used = np.array(weights, np.float64) > 0
        if not used.any():
            raise UserError("input_cfg: no weight is above 0; give at least one set a weight")
        if not self.sizes[used].all():
            raise UserError("input_cfg: a set with a weight above 0 holds no utterance; remove it")
        share = np.where(used, np.where(used, weights, 1.0) ** temperature, 0.0)
        self.shares = share / share.sum()
        self.counts = _rounded(self.shares * self.sizes.sum())
        self._first = np.cumsum(self.sizes) - self.sizes

    def members(self, epoch: int) -> np.ndarray:
        """The utterances of `epoch`, [utterances] int64, set after set."""
        parts = []
        for k, (size, count) in enumerate(zip(self.sizes, self.counts, strict=True)):
            place = np.arange(epoch * count, (epoch + 1) * count)
            passes = place // size if count else place
            for number in np.unique(passes):
                order = np.random.default_rng((self.seed, k, int(number))).permutation(size)
                parts.append(self._first[k] + order[place[passes == number] % size])
        return np.concatenate(parts)


def _rounded(shares: np.ndarray) -> np.ndarray:
    """Whole numbers with the sum of `shares`, each at most one from its own (largest remainders)."""
    counts = np.floor(shares).astype(np.int64)
    missing = int(round(shares.sum())) - counts.sum()
    counts[np.argsort(counts - shares, kind="stable")[:missing]] += 1
    return counts
