"""The float32 exports of a deep network are as close to the exact result as Keras's own float32."""

import numpy as np
import pytest

from jasper_tf.export.edge.calibration import read_calibration
from jasper_tf.export.edge.formats import open_model
from jasper_tf.export.edge.read_network import read_network
from jasper_tf.export.litert.graph import build_litert
from jasper_tf.export.onnx.model import make_onnx
from jasper_tf.inference.load_model import load_model
from tests.export.edge import float64_network


@pytest.mark.slow
def test_quartznet_is_as_exact_as_in_keras(shared, tmp_path):
    model = load_model(shared / "pretrained" / "quartznet15x5_en.nemo")
    clips = read_calibration(str(shared / "data" / "librispeech_mini" / "test_manifest.json"), 16000, print)
    audio = clips[33].audio[None]  # where Keras and ONNX Runtime are 4e-3 apart: 85 convolutions amplify rounding
    audio_len, network = np.array([audio.shape[1]], np.int32), read_network(model)
    exact, (frames,) = float64_network.log_probs(network, audio, audio_len)
    (tmp_path / "model.tflite").write_bytes(build_litert(network))
    (tmp_path / "model.onnx").write_bytes(make_onnx(network).proto.SerializeToString())
    errors = []
    for one in (model, open_model(tmp_path / "model.tflite"), open_model(tmp_path / "model.onnx")):
        found, _ = one.log_probs(audio, audio_len)
        errors.append(np.abs(found[0, :frames] - exact[0, :frames]))
    in_keras, *exported = errors
    for error in exported:
        assert error.max() < 3 * in_keras.max() and np.percentile(error, 99) < 3 * np.percentile(in_keras, 99)
