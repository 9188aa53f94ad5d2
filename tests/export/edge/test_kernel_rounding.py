"""Weights are rounded so that what a convolution gives on recordings changes little."""

import dataclasses

import numpy as np
import pytest

from jasper_tf.export.edge import input_statistics
from jasper_tf.export.edge.calibration import CalibrationClip
from jasper_tf.export.edge.input_statistics import measure_inputs
from jasper_tf.export.edge.kernel_rounding import quantize_kernel, round_kernels
from jasper_tf.export.edge.network import Convolution
from jasper_tf.export.edge.read_network import read_network
from tests.export.edge import float64_network
from tests.export.edge.models import small_model, some_audio

CLIPS = [CalibrationClip(row[:n], "") for row, n in zip(*some_audio(), strict=True)]


def test_outputs_are_rounded_each_with_its_own_scale():
    kernel = np.random.default_rng(1).normal(size=(3, 4, 6)).astype(np.float32) * 10.0 ** np.arange(-3, 3)
    kernel[:, :, 2] = 0
    convolution = Convolution(kernel, None, 1, 1, 1, (0, 0), False)
    values, scale = quantize_kernel(convolution)
    error = np.abs(values * scale - kernel).max(axis=(0, 1))
    assert (error <= scale * 0.501).all() and (np.abs(values).max(axis=(0, 1))[[0, 1, 3, 4, 5]] == 127).all()
    assert not values[:, :, 2].any()
    halved = dataclasses.replace(convolution, kernel=values * scale / 2, scale=scale / 2)
    again, kept = quantize_kernel(halved)
    assert (again == values).all() and (kept == scale / 2).all()


def test_what_is_measured_is_what_the_convolutions_read():
    model = small_model("usual", "groups")
    network = read_network(model)
    found = measure_inputs(model, network, CLIPS[:1])
    features = float64_network.features_of(network.front_end, CLIPS[0].audio[None], np.array([16000]))[0][0, :100]
    np.testing.assert_allclose(found[0].mean, features.mean(axis=0), atol=1e-5)
    later = features[3:].T @ features[:-3]
    np.testing.assert_allclose(found[0].products[3, 0].T, later, atol=1e-2)
    assert len(found) == len([*network.convolutions()]) + 1
    for convolution, one in zip(network.convolutions(), found, strict=False):
        assert one.sum.shape == (convolution.kernel.shape[1] * convolution.groups,)
    assert all("call" not in vars(layer) for block in model.encoder.blocks for layer in block.convolutions)


@pytest.mark.parametrize("most", [4096, 20])
@pytest.mark.parametrize("encoder", ["plain", "groups", "separable", "dilated"])
def test_rounding_by_recordings_is_closer_than_to_the_nearest(monkeypatch, encoder, most):
    monkeypatch.setattr(input_statistics, "MOST_COEFFICIENTS", most)
    model = small_model("usual", encoder)
    network = read_network(model)
    inputs = measure_inputs(model, network, CLIPS)
    convolutions = [*network.convolutions(), network.head]
    nearest = []
    for convolution in convolutions:
        values, scale = quantize_kernel(convolution)
        nearest.append(dataclasses.replace(convolution, kernel=values * scale, scale=scale))
    rounded = round_kernels(network, inputs, lambda convolution: True)
    for before, after in zip(convolutions, [*rounded.convolutions(), rounded.head], strict=True):
        values, scale = quantize_kernel(after)
        np.testing.assert_allclose(values * scale, after.kernel, atol=1e-7)
        assert np.abs(after.kernel - before.kernel).max() > 0
    audio, audio_len = some_audio()
    expected, length = float64_network.log_probs(network, audio, audio_len)

    def distance(other):
        difference = float64_network.log_probs(other, audio, audio_len)[0] - expected
        return sum(np.square(row[:n]).sum() for row, n in zip(difference, length, strict=True))

    assert distance(rounded) < 0.75 * distance(network.with_convolutions(nearest))


def test_others_stay():
    model = small_model()
    network = read_network(model)
    rounded = round_kernels(network, measure_inputs(model, network, CLIPS[:1]), lambda convolution: False)
    pairs = zip([*network.convolutions(), network.head], [*rounded.convolutions(), rounded.head], strict=True)
    assert all(one is other for one, other in pairs)
