"""Mean and standard deviation of features that come part by part."""

from __future__ import annotations

import numpy as np


class RunningStatistics:
    """Mean and standard deviation of each feature over all frames so far, in float64 and constant memory.

    Source: Chan, Golub and LeVeque 1979, "Updating formulae and a pairwise algorithm for computing sample variances".
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean: np.ndarray | float = 0.0
        self._squares: np.ndarray | float = 0.0

    def add(self, features: np.ndarray) -> RunningStatistics:
        """Adds frames [T,F]; returns itself."""
        if not len(features):
            return self
        features = features.astype(np.float64)
        mean = features.mean(axis=0)
        total, apart = self.count + len(features), mean - self._mean
        self._squares = (
            self._squares
            + np.square(features - mean).sum(axis=0)
            + np.square(apart) * (self.count * len(features) / total)
        )
        self._mean = self._mean + apart * (len(features) / total)
        self.count = total
        return self

    def moments(self, per_feature: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """(mean [F], standard deviation [F]) float32; the deviation divides by N - 1, as `FeatureNormalization` does.

        `per_feature` False: those of all values together, repeated F times.
        """
        mean, squares, count = np.asarray(self._mean), np.asarray(self._squares), self.count
        if not per_feature:
            squares = np.full_like(squares, (squares + count * np.square(mean - mean.mean())).sum())
            mean, count = np.full_like(mean, mean.mean()), count * mean.size
        return mean.astype(np.float32), np.sqrt(squares / max(count - 1, 1)).astype(np.float32)
