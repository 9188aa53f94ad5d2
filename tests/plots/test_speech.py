"""Pictures: their size, and that they show what they are given."""

import numpy as np
import pytest
from matplotlib.figure import Figure

from jasper_tf.decoding.alignment import time_labels
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.features.mel_filterbank import mel_edges_hz
from jasper_tf.plots.speech import alignment_picture, draw_spectrogram, spec_augment_picture, spectrogram_picture
from jasper_tf.text.tokenizer import CharacterTokenizer

TOKENIZER = CharacterTokenizer(list(" ab"))


def test_spectrogram():
    features = np.random.default_rng(0).normal(size=(120, 64)).astype(np.float32)
    picture = spectrogram_picture(features, 0.01, "title", size=(400, 200))
    assert picture.shape == (200, 400, 3) and picture.dtype == np.uint8
    masked = features.copy()
    masked[30:60] = 0
    assert (spectrogram_picture(masked, 0.01, "title", size=(400, 200)) != picture).any()


def test_low_channels_are_at_the_bottom():
    features = np.zeros((50, 10), np.float32)
    features[:, :5] = 1.0
    picture = spectrogram_picture(features, 0.01, size=(400, 300)).astype(int).sum(-1)
    assert picture[200, 200] > picture[80, 200] + 100


def test_frequencies_are_on_the_axis():
    features = np.random.default_rng(0).normal(size=(50, 64)).astype(np.float32)
    band_hz = mel_edges_hz(64, 0.0, 8000.0)[1:-1]
    numbered, in_hertz = (spectrogram_picture(features, 0.01, band_hz=b).astype(int) for b in (None, band_hz))
    assert np.abs(numbered - in_hertz)[:, :80].sum() > 0
    figure = Figure()
    draw_spectrogram(figure.add_subplot(), features, 0.01, (0.0, 1.0), band_hz)
    [axes] = figure.axes
    found = dict(zip([label.get_text() for label in axes.get_yticklabels()], axes.get_yticks(), strict=True))
    # Slaney's scale: 200 / 3 Hz a mel up to 1 kHz; 64 bands share hz_to_mel(8000) = 45.2 mels in 65 steps.
    assert found["500"] == pytest.approx(7.5 / (45.245 / 65) - 0.5, abs=0.05)
    assert found["1,000"] == pytest.approx(15 / (45.245 / 65) - 0.5, abs=0.05)
    assert list(found) == ["250", "500", "1,000", "2,000", "4,000"]


def test_masks_show_below_what_they_mask():
    """In one picture with the same colors: what is not masked looks the same above and below."""
    features = np.random.default_rng(0).normal(size=(120, 64)).astype(np.float32)
    masked = features.copy()
    masked[30:60] = 0
    picture = spec_augment_picture(features, masked, 0.01, size=(400, 300)).astype(int)
    assert picture.shape == (300, 400, 3)
    same = spec_augment_picture(features, features, 0.01, size=(400, 300)).astype(int)
    changed = np.abs(picture - same).sum(-1).astype(bool)
    # Only the lower panel, and there a quarter of the time (the panel is not as wide as the picture).
    rows, columns = np.flatnonzero(changed.any(1)), np.flatnonzero(changed.any(0))
    assert rows.min() > 130
    assert 0.18 < np.ptp(columns) / 400 < 0.25 and columns.min() > 100


def test_alignment_shows_its_letters():
    log_probs = np.log(np.random.default_rng(0).dirichlet(np.ones(4) * 0.2, 40) + 1e-9)
    best = GreedyDecoder()(log_probs[None], np.array([40])).best()
    [letters] = time_labels(best, TOKENIZER, 0.02)
    picture = alignment_picture(log_probs, TOKENIZER, letters, 0.02, size=(500, 300))
    assert picture.shape == (300, 500, 3) and picture.dtype == np.uint8
    assert (alignment_picture(log_probs, TOKENIZER, [], 0.02, size=(500, 300)) != picture).any()


def test_no_frames():
    assert spectrogram_picture(np.zeros((0, 64)), 0.01).shape == (400, 700, 3)
    assert alignment_picture(np.zeros((0, 4)), TOKENIZER, [], 0.02).shape == (660, 700, 3)
