"""The counts of feature frames against what the layer itself returns."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from jasper_tf.errors import UserError
from jasper_tf.features.framing import Framing, hop_samples
from jasper_tf.features.log_mel import LogMelSpectrogram


@settings(max_examples=40, deadline=None)
@given(
    sample_rate=st.sampled_from([8000, 11025, 16000, 22050, 44100, 48000]),
    window_size_s=st.sampled_from([0.02, 0.025]),
    window_stride_s=st.sampled_from([0.005, 0.009, 0.01, 0.0125, 0.02]),
    n_fft=st.sampled_from([None, 1536, 2047]),
    exact_pad=st.booleans(),
    generation=st.sampled_from(["modern", "legacy"]),
    lengths=st.lists(st.integers(0, 5000), min_size=1, max_size=6),
)
def test_the_frames_of_the_layer(exact_pad, lengths, **arguments):
    hop = hop_samples(arguments["window_stride_s"], arguments["sample_rate"])
    assume(not exact_pad or hop % 2 == 0)
    framing = Framing.from_seconds(exact_pad=exact_pad, **arguments)
    lengths = np.array([*lengths, *(hop * k + d for k in (1, 3) for d in (-1, 0, 1))])
    samples = max(3000, lengths.max())
    layer = LogMelSpectrogram(exact_pad=exact_pad, features=4, **arguments)
    features, feature_len = layer(np.zeros((len(lengths), samples), np.float32), lengths)
    np.testing.assert_array_equal(framing.frames(lengths), feature_len)
    assert [int(framing.frames(int(n))) for n in lengths] == feature_len.numpy().tolist()
    assert framing.padded_frames(samples) == features.shape[1]


def test_a_hop_is_cut_as_nemo_cuts_it():
    """NeMo: `int(window_stride * sample_rate)`; 0.009 * 48000 is 431.99999999999994."""
    assert hop_samples(0.009, 48000) == 431
    assert Framing.from_seconds(48000, 0.02, 0.009).hop_samples == 431


def test_less_than_a_sample():
    with pytest.raises(UserError, match="window_stride"):
        hop_samples(1e-5, 16000)
    with pytest.raises(UserError, match="window_size"):
        Framing.from_seconds(16000, 1e-5, 0.01)
