"""Resampling in the graph against soxr HQ, and against its own definition in float64."""

import numpy as np
import pytest
import soxr
import tensorflow as tf

from jasper_tf.export.saved_model import resampling
from jasper_tf.export.saved_model.resampling import resample


@pytest.fixture(scope="module")
def graph():
    signature = [tf.TensorSpec([None], tf.float32), tf.TensorSpec([], tf.int32)]
    return tf.function(lambda audio, from_hz: resample(audio, from_hz, 16000), input_signature=signature)


def twin(audio, from_hz, to_hz, at):
    """The outputs number `at`, in float64 from the formula."""
    stretch = max(1.0, from_hz / to_hz)
    distance = np.arange(len(audio)) - at[:, None] * (from_hz / to_hz)
    t = distance / stretch
    window = np.i0(12.0 * np.sqrt(np.maximum(0, 1 - (t / 94) ** 2))) / np.i0(12.0) * (np.abs(t) < 94)
    return (0.9568 / stretch * np.sinc(0.9568 * t) * window) @ audio.astype(np.float64)


@pytest.mark.parametrize("rate", [8000, 11025, 12345, 15999, 22050, 24000, 32000, 44100, 48000, 96000])
def test_soxr_and_the_formula(graph, rate):
    audio = (
        np.random.default_rng(rate).normal(scale=0.1, size=rate // 2 + 77).astype(np.float32)
    )  # full band: the worst
    found = graph(audio, rate).numpy()
    expected = soxr.resample(audio, rate, 16000, quality="HQ")
    assert len(found) == len(expected)
    # soxr's first and last samples are its own: there its stages have not all begun.
    assert np.abs(found - expected)[100:-100].max() < 4e-4
    assert np.sqrt(np.mean((found - expected)[100:-100] ** 2)) < 1.5e-4
    at = np.array([0, 1, 2, len(found) // 2, len(found) - 2, len(found) - 1])
    np.testing.assert_allclose(found[at], twin(audio, rate, 16000, at), atol=2e-6)


def test_both_ways_of_computing_agree(graph, monkeypatch):
    audio = np.random.default_rng(1).normal(scale=0.1, size=20000).astype(np.float32)
    by_matrix = graph(audio, 44100)
    monkeypatch.setattr(resampling, "_LARGEST_MATRIX", 0)
    by_phases = tf.function(lambda x: resample(x, 44100, 16000))(audio)
    np.testing.assert_allclose(by_matrix, by_phases, atol=1e-6)


@pytest.mark.parametrize("rate", [8000, 15999, 48000])
def test_shortest(graph, rate):
    for samples in (0, 1, 2, 5):
        expected = (2 * samples * 16000 + rate) // (2 * rate)
        assert graph(np.ones(samples, np.float32), rate).shape == (expected,)


def test_same_rate_is_untouched(graph):
    audio = np.random.default_rng(2).normal(size=1000).astype(np.float32)
    np.testing.assert_array_equal(graph(audio, 16000), audio)
