"""8-bit and 16-bit LiteRT models are small, and say what the model says."""

import numpy as np
import pytest

from jasper_tf.export.edge.calibration import CalibrationClip
from jasper_tf.export.edge.formats import FORMATS, EdgeJob
from jasper_tf.export.edge.read_network import read_network
from jasper_tf.export.edge.verification import verify
from jasper_tf.export.litert.activations import measure_activations
from jasper_tf.export.litert.graph import build_litert
from jasper_tf.export.litert.runtime import LiteRTModel
from jasper_tf.export.litert.writer import write_litert
from tests.export.edge.models import small_model, some_audio

DENSE = {"filters": 96, "repeat": 2, "kernel": [11], "residual": True}
CLIPS = [CalibrationClip(row[:n], "") for row, n in zip(*some_audio(), strict=True)]


def write(model, quantize, folder) -> tuple[LiteRTModel, int]:
    write_litert(EdgeJob(model, FORMATS["litert"], quantize, (), CLIPS, lambda line: None), folder)
    file = folder / "model.tflite"
    return LiteRTModel(file, threads=1), file.stat().st_size


def test_size_and_precision(tmp_path):
    model = small_model(blocks=[DENSE, {**DENSE, "stride": [2], "repeat": 1, "residual": False}])
    sizes, found = {}, {}
    for quantize in FORMATS["litert"].quantize:
        exported, sizes[quantize] = write(model, quantize, tmp_path)
        found[quantize] = verify(model, exported, CLIPS)
    front_end = read_network(model).front_end
    transform = 4 * (front_end.dft.size + 2 * front_end.mel.size)  # bytes that stay
    for quantize, part in {"float16": 0.5, "int8-dynamic": 0.25, "int8-static": 0.25}.items():
        assert sizes[quantize] < transform + part * (sizes["none"] - transform) + 30_000
    assert found["none"].max_difference < 5e-5 and found["float16"].max_difference < 0.02
    assert 1e-3 < found["int8-dynamic"].p99_difference < 0.3 and 1e-3 < found["int8-static"].p99_difference < 0.5


@pytest.mark.parametrize("quantize", ["int8-dynamic", "int8-static"])
@pytest.mark.parametrize(
    "encoder", ["separable", "groups", "dense", "maximum", "strided_residual", "excitation", "selu"]
)
def test_every_kind_of_block_in_8_bits(tmp_path, quantize, encoder):
    model = small_model("usual", encoder)
    exported, _ = write(model, quantize, tmp_path)
    found = verify(model, exported, CLIPS)
    # Of the model's own scale: the logits of random weights go up to 10.
    assert found.p99_difference < 0.6


@pytest.mark.parametrize("quantize", ["int8-dynamic", "int8-static"])
def test_wide_depthwise_kernels_stay_in_float32(tmp_path, quantize):
    wide = {"filters": 24, "repeat": 2, "kernel": [33], "separable": True, "residual": False}
    model = small_model(blocks=[wide, {**wide, "filters": 16}])
    exported, _ = write(model, quantize, tmp_path)
    assert verify(model, exported, CLIPS).p99_difference < 0.6


def test_activations_are_those_of_the_float_model(tmp_path):
    model = small_model("usual", "plain")
    network = read_network(model)
    found = measure_activations(build_litert(network, measured=True), CLIPS[:1])
    features = model.spectrograms({"audio": CLIPS[0].audio[None], "audio_len": np.array([16000])})[1][0, :100]
    low, high = np.percentile(features, (0.01, 99.99))
    assert (found["features"].low, found["features"].high) == pytest.approx((low, high), abs=1e-3)
    assert found["block_0/0/convolution"].low == 0  # after its activation
