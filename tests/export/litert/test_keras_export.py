"""Keras's own export writes a LiteRT model of builtin operators: batches, and lengths of any size."""

import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema

from jasper_tf.export.litert.runtime import open_interpreter
from tests.export.edge.models import small_model, some_audio


@pytest.mark.slow
def test_the_model_itself_converts_without_flex_operators(tmp_path):
    stem = {"filters": 16, "repeat": 1, "kernel": [5], "stride": [2], "residual": False}
    deep = {**stem, "separable": True, "se": True}
    model = small_model(blocks=[stem, deep])
    audio, audio_len = some_audio()
    expected, expected_len = model.compute_logits(audio, audio_len)
    file = tmp_path / "model.tflite"
    model.export(str(file), format="litert", verbose=False)
    content = schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes()))
    assert [code.customCode for code in content.operatorCodes if code.customCode] == []

    interpreter = open_interpreter(file)
    given = {2: audio, 1: audio_len}  # by the number of axes
    entries = {len(entry["shape"]): entry["index"] for entry in interpreter.get_input_details()}
    for axes, entry in entries.items():
        interpreter.resize_tensor_input(entry, given[axes].shape)
    interpreter.allocate_tensors()
    for axes, entry in entries.items():
        interpreter.set_tensor(entry, given[axes])
    interpreter.invoke()
    found = [interpreter.get_tensor(entry["index"]) for entry in interpreter.get_output_details()]
    logits, logit_len = sorted(found, key=np.ndim, reverse=True)
    np.testing.assert_array_equal(logit_len, expected_len)
    for row, other, frames in zip(logits, expected.numpy(), logit_len, strict=True):
        np.testing.assert_allclose(row[:frames], other[:frames], atol=5e-5)
