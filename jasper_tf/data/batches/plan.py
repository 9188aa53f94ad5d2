"""Plans which utterances form a batch, before any audio is read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Batch:
    """One row of the plan: the utterances and the shape they are padded to."""

    index: np.ndarray  # [B] positions in the list of utterances
    samples: int  # S, the padded audio length
    labels: int  # U, the padded label length


@dataclass(frozen=True)
class Buckets:
    """A small set of padded shapes: a step is compiled once for each, and once more for an epoch's smaller batch.

    Args:
        samples: padded audio length of each bucket, strictly rising.
        labels: padded label length of each bucket.
    """

    samples: np.ndarray
    labels: np.ndarray

    @classmethod
    def fit(
        cls,
        audio_len: np.ndarray,
        label_len: np.ndarray,
        buckets: int,
        *,
        hop: int,
        pad_to: int,
        speeds: tuple[float, float] = (1.0, 1.0),
        max_samples: int | None = None,
    ) -> Buckets:
        """The bucket lengths that waste the least padding on these recordings.

        Args:
            audio_len: [utterances] samples of each utterance.
            label_len: [utterances] labels of each utterance.
            buckets: how many lengths at most.
            hop: samples from one feature frame to the next.
            pad_to: the multiple that the features' frames are padded to; lengths fill it.
            speeds: lowest and highest rate of speed perturbation; an utterance may become `1 / lowest` as long.
            max_samples: none becomes longer than this.
        """
        slowest, fastest = speeds
        longest = np.ceil(audio_len / slowest)
        if max_samples is not None:
            longest = np.minimum(longest, np.maximum(audio_len, max_samples))
        block = hop * max(pad_to, 1)
        # 1 + S // hop frames leave the features: one hop less than a whole block fills the block.
        filled = np.ceil((longest + hop) / block).astype(np.int64) * block - hop
        lengths, counts = np.unique(filled, return_counts=True)
        bounds = lengths[_least_padding(lengths, counts, min(buckets, len(lengths)))]
        labels = np.array([label_len[audio_len / fastest <= b].max(initial=1) for b in bounds])
        return cls(bounds, labels)

    def of(self, audio_len: np.ndarray) -> np.ndarray:
        """[utterances] the smallest bucket that holds each length."""
        return np.searchsorted(self.samples, audio_len)


def _least_padding(lengths: np.ndarray, counts: np.ndarray, buckets: int) -> np.ndarray:
    """Positions of the bucket ends with the least total padding: dynamic programming over the distinct lengths."""
    total = np.concatenate([[0], np.cumsum(counts)])
    # best[j]: padded samples of the first j lengths in the buckets laid so far; starts[k][j]: where bucket k, which
    # ends before j, begins.
    best = np.where(np.arange(len(lengths) + 1) == 0, 0.0, np.inf)
    starts: list[np.ndarray] = []
    for _ in range(buckets):
        start, padded = np.zeros(len(best), np.int64), np.full(len(best), np.inf)
        # One end at a time: a table of all ends and starts would not fit in memory when no length repeats.
        for end in range(1, len(best)):
            cost = best[:end] + (total[end] - total[:end]) * lengths[end - 1]
            start[end] = cost.argmin()
            padded[end] = cost[start[end]]
        best = padded
        starts.append(start)
    chosen, end = [], len(lengths)
    for start in reversed(starts):
        chosen.append(end - 1)
        end = int(start[end])
    return np.array(chosen[::-1])


def batch_sizes(buckets: Buckets, seconds: float, sample_rate: int) -> np.ndarray:
    """[buckets] how many utterances of each bucket make a batch of at most `seconds`, padding counted; one at least."""
    return np.maximum(1, (seconds * sample_rate / buckets.samples).astype(np.int64))


def count_batches(audio_len: np.ndarray, buckets: Buckets, sizes: int | np.ndarray) -> int:
    """The number of batches that `plan_epoch` makes, without making them."""
    counts = np.bincount(buckets.of(audio_len), minlength=len(buckets.samples))
    batches = left = 0
    for count, size in zip(counts, np.broadcast_to(sizes, counts.shape), strict=True):
        whole, left = divmod(left + int(count), int(size))
        batches += whole
    return batches + (left > 0)


def plan_epoch(
    audio_len: np.ndarray,
    buckets: Buckets,
    sizes: int | np.ndarray,
    *,
    shuffle: bool,
    seed: int = 0,
    epoch: int = 0,
) -> list[Batch]:
    """The batches of one epoch: every utterance exactly once, a pure function of the arguments.

    All batches but one are full: what is left over in a bucket moves up to the next longer one. With one size for all
    an epoch has `ceil(N / size)` steps as it has without buckets.

    Args:
        audio_len: [utterances] samples in this epoch (after speed perturbation); none above the last bucket.
        sizes: utterances in a batch, or [buckets] in a batch of each bucket.
        shuffle: order within buckets and order of batches drawn from (seed, epoch); otherwise both rise with length.
    """
    generator = np.random.default_rng((seed, epoch))
    order = generator.permutation(len(audio_len)) if shuffle else np.argsort(audio_len, kind="stable")
    bucket = buckets.of(audio_len)[order]
    sizes = np.broadcast_to(sizes, buckets.samples.shape)
    batches: list[Batch] = []
    left = order[:0]
    for k, (samples, labels, size) in enumerate(zip(buckets.samples, buckets.labels, sizes, strict=True)):
        members = np.concatenate([left, order[bucket == k]])
        whole = len(members) - len(members) % size
        batches += [Batch(row, int(samples), int(labels)) for row in members[:whole].reshape(-1, size)]
        left = members[whole:]
    if len(left):
        batches.append(Batch(left, int(buckets.samples[-1]), int(buckets.labels[-1])))
    return [batches[i] for i in generator.permutation(len(batches))] if shuffle else batches
