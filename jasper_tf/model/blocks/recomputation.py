"""Training-mode computation of a block that may be repeated: its side effects are kept apart."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras

from jasper_tf.model.blocks.batch_norm import BatchNorm


class DrawnSeed(keras.random.SeedGenerator):
    """A seed that was drawn before, where `keras.random` takes a generator only."""

    def __init__(self, seed: Any):
        self._seed = seed

    def next(self, ordered: bool = True) -> Any:
        return self._seed


class Repeatable:
    """Stands for `training=True` in a block: random numbers come from `seeds`, and batch statistics are collected.

    Args:
        seeds: drawn before, in the order in which the block uses them.

    Attributes:
        statistics: of the batch norms, in the order of their calls: the updates that they need.
    """

    def __init__(self, seeds: Sequence[Any]):
        self._seeds = iter([DrawnSeed(seed) for seed in seeds])
        self.statistics: list[tuple[BatchNorm, tuple[Any, ...]]] = []

    def next_seed(self) -> DrawnSeed:
        return next(self._seeds)

    def normalize(self, layer: BatchNorm, x: Any) -> Any:
        """`layer(x, training=True)` without its update."""
        if not layer.trainable:
            return layer(x)
        y, statistics = layer.normalize(x)
        self.statistics.append((layer, statistics))
        return y


def recompute(block: Callable[[Sequence[Any], Repeatable], Any], panes: Sequence[Any], seeds: Sequence[Any]) -> Any:
    """Computes a block whose inner values are not kept: the backward pass computes them again from `panes`.

    Statistics of batch norms are updated once, and both computations use the same seeds.

    Args:
        block: (panes, what stands for `training`) -> the output; without side effects.
        panes: its inputs, floating-point tensors.
        seeds: see `Repeatable`.
    """
    norms: list[BatchNorm] = []

    def compute(*panes: Any) -> tuple[Any, ...]:
        training = Repeatable(seeds)
        output = block(panes, training)
        norms[:] = [layer for layer, _ in training.statistics]
        return output, *(value for _, values in training.statistics for value in values)

    output, *flat = keras.remat(compute)(*panes)
    size = len(flat) // max(1, len(norms))
    for number, layer in enumerate(norms):
        layer.update(*flat[number * size : (number + 1) * size])
    return output
