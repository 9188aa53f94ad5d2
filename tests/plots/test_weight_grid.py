"""The picture of a search of decoding weights."""

import io

import matplotlib.image
import numpy as np

from jasper_tf.plots.weight_grid import draw_weight_grid


def picture(*arguments):
    file = io.BytesIO()
    draw_weight_grid(file, *arguments)
    file.seek(0)
    return matplotlib.image.imread(file)[..., :3]


def test_low_rates_are_bright_and_high_ones_dark():
    pixels = picture([0.5, 0.5, 1.0, 1.0], [0.0, 1.0, 0.0, 1.0], [0.1, 0.1, 0.4, 0.4], "lm.arpa")
    assert pixels.shape == (640, 800, 3)
    left, right = (pixels[120:520:20, at].mean() for at in (140, 580))
    assert left > right + 0.2


def test_one_pair():
    pixels = picture([0.5], [0.0], [0.1])
    assert len(np.unique(pixels.reshape(-1, 3), axis=0)) > 10
