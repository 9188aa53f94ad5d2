import numpy as np
import pytest

from jasper_tf.features.running_statistics import RunningStatistics

RNG = np.random.default_rng(0)


@pytest.mark.parametrize("per_feature", [True, False])
def test_matches_the_statistics_of_the_whole_in_float64(per_feature):
    # A mean far above the deviation: sums of squares in float32 would have no digit left.
    features = (RNG.standard_normal((5000, 4)) * [0.01, 1, 3, 0.5] + [100, -9, 0, 2]).astype(np.float32)
    running = RunningStatistics()
    for part in np.split(features, [0, 1, 1, 7, 500, 4999]):
        running.add(part)
    mean, std = running.moments(per_feature)
    axis = 0 if per_feature else None
    whole = features.astype(np.float64)
    np.testing.assert_allclose(mean, np.broadcast_to(whole.mean(axis), 4), rtol=1e-6)
    np.testing.assert_allclose(std, np.broadcast_to(whole.std(axis, ddof=1), 4), rtol=1e-6)


def test_a_constant_band_has_its_value_as_mean_and_no_deviation():
    running = RunningStatistics()
    for _ in range(1000):
        running.add(np.full((160, 2), -16.635532, np.float32))
    mean, std = running.moments()
    np.testing.assert_array_equal(mean, np.float32(-16.635532))
    np.testing.assert_array_equal(std, 0)
