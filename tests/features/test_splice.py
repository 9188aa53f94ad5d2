import numpy as np
import pytest

from jasper_tf.errors import UserError
from jasper_tf.features.splice import FrameSplicing


def twin(features, lengths, k):
    batch, frames, bands = features.shape
    stacks = np.zeros((batch, frames, bands * k))
    for b in range(batch):
        for t in range(frames):
            for j in range(k):
                if t + j < lengths[b]:
                    stacks[b, t, j * bands : (j + 1) * bands] = features[b, t + j]
    return stacks


@pytest.mark.parametrize("k", [2, 3, 5])
@pytest.mark.parametrize("frames", [1, 11, 12])
def test_stacks_the_frames_that_follow(k, frames):
    features = np.random.default_rng(0).standard_normal((4, frames, 5)).astype(np.float32)
    lengths = np.array([frames, frames // 2, 1, 0])
    stacks, stack_len = FrameSplicing(k)(features, lengths)
    np.testing.assert_array_equal(stacks, twin(features, lengths, k))
    assert np.asarray(stack_len).tolist() == lengths.tolist()


def test_one_frame_is_the_input():
    features = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32)
    stacks, stack_len = FrameSplicing()(features, np.array([7, 3]))
    np.testing.assert_array_equal(stacks, features)
    assert np.asarray(stack_len).tolist() == [7, 3]


@pytest.mark.parametrize("k", [1, 3])
def test_travels(assert_layer_travels, k):
    features = np.random.default_rng(0).standard_normal((2, 7, 5)).astype(np.float32)
    assert_layer_travels(FrameSplicing(k), features, np.array([7, 3]))


def test_less_than_one_frame():
    with pytest.raises(UserError, match="frame_splicing"):
        FrameSplicing(0)
