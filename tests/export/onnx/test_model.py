"""The ONNX file gives what the model gives."""

import numpy as np
import onnx
import onnxruntime
import pytest

from jasper_tf.export.edge.read_network import read_network
from jasper_tf.export.onnx.model import make_onnx
from tests.export.edge.models import ENCODERS, FRONT_ENDS, small_model, some_audio

CASES = [(front_end, "plain") for front_end in FRONT_ENDS] + [("usual", encoder) for encoder in ENCODERS]
CASES += [("pad_value", "no_mask"), ("reflected", "excitation")]


@pytest.mark.parametrize(("front_end", "encoder"), CASES)
def test_a_padded_batch_gives_what_the_model_gives(front_end, encoder):
    model = small_model(front_end, encoder)
    made = make_onnx(read_network(model)).proto
    onnx.checker.check_model(made, full_check=True)
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    audio, audio_len = some_audio()
    expected, expected_len = model.log_probs(audio, audio_len)
    found, found_len = session.run(None, {"audio": audio, "audio_len": audio_len})
    np.testing.assert_array_equal(found_len, expected_len)
    for one, other, frames in zip(found, expected, expected_len, strict=True):
        np.testing.assert_allclose(one[:frames], other[:frames], atol=5e-5)
