"""The reliability diagram."""

import io

from matplotlib.image import imread

from jasper_tf.metrics.calibration import measure_calibration
from jasper_tf.plots.calibration import draw_reliability


def test_picture():
    file = io.BytesIO()
    draw_reliability(file, measure_calibration([0.2, 0.95, 0.9], [False, True, True]), "test")
    file.seek(0)
    assert imread(file).shape[:2] == (600, 600)
    draw_reliability(io.BytesIO(), measure_calibration([], []))
