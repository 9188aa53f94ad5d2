import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.features.splice import FrameSplicing


def twin(features, lengths, k, stride):
    batch, frames, bands = features.shape
    stacks = np.zeros((batch, -(-frames // stride), bands * k))
    for b in range(batch):
        for row, t in enumerate(range(0, frames, stride)):
            for j in range(k):
                if t + j < lengths[b]:
                    stacks[b, row, j * bands : (j + 1) * bands] = features[b, t + j]
    return stacks, [-(-n // stride) for n in lengths]


@pytest.mark.parametrize(("k", "stride"), [(2, 1), (3, 1), (3, 3), (3, 2), (5, 4)])
@pytest.mark.parametrize("frames", [1, 11, 12])
def test_stacks_the_frames_that_follow(k, stride, frames):
    features = np.random.default_rng(0).standard_normal((4, frames, 5)).astype(np.float32)
    lengths = np.array([frames, frames // 2, 1, 0])
    stacks, stack_len = FrameSplicing(k, stride)(features, lengths)
    expected, expected_len = twin(features, lengths, k, stride)
    np.testing.assert_array_equal(stacks, expected)
    assert np.asarray(stack_len).tolist() == expected_len


def test_one_frame_is_the_input():
    features = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32)
    stacks, stack_len = FrameSplicing()(features, np.array([7, 3]))
    np.testing.assert_array_equal(stacks, features)
    assert np.asarray(stack_len).tolist() == [7, 3]


@pytest.mark.parametrize(("k", "stride"), [(1, 1), (3, 2)])
def test_travels(assert_layer_travels, k, stride):
    features = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32)
    assert_layer_travels(FrameSplicing(k, stride), features, np.array([7, 3]))


@pytest.mark.parametrize("arguments", [{"frame_splicing": 0}, {"frame_stride": 0}])
def test_impossible_arguments(arguments):
    with pytest.raises(UserError, match="at least 1"):
        FrameSplicing(**arguments)
