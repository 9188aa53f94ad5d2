"""The LiteRT graph computes what the Keras model does, by builtin operators, for recordings of any length."""

import numpy as np
import pytest
from tensorflow.lite.python import schema_py_generated as schema

from jasper_tf.errors import UserError
from jasper_tf.export.edge.read_network import read_network
from jasper_tf.export.litert.graph import build_litert
from jasper_tf.export.litert.runtime import LiteRTModel
from tests.export.edge.models import ENCODERS, FRONT_ENDS, small_model, some_audio

NOT_POSSIBLE = ("no_mask", "layer_norm", "group_norm", "instance_norm", "exact_pad", "exact_pad_reflected")
NOT_POSSIBLE += ("hop_longer_than_window",)  # it has exact_pad
CASES = [(front_end, "plain") for front_end in FRONT_ENDS] + [("usual", encoder) for encoder in ENCODERS]


def litert(folder, model, *options) -> LiteRTModel:
    file = folder / "model.tflite"
    file.write_bytes(build_litert(read_network(model), *options))
    return LiteRTModel(file, threads=1)


@pytest.mark.parametrize(("front_end", "encoder"), [case for case in CASES if not {*case} & {*NOT_POSSIBLE}])
def test_log_probabilities_are_those_of_the_model(tmp_path, front_end, encoder):
    model = small_model(front_end, encoder)
    exported = litert(tmp_path, model)
    for audio, samples in zip(*some_audio(), strict=True):  # one interpreter, longer and shorter again
        alone, length = audio[None, :samples], np.array([samples], np.int32)
        expected, expected_len = model.log_probs(alone, length)
        found, found_len = exported.log_probs(alone, length)
        np.testing.assert_array_equal(found_len, expected_len)
        np.testing.assert_allclose(found[0], expected[0, : expected_len[0]], atol=5e-5)


def test_energies_far_below_the_guard_of_the_logarithm_are_those_of_the_model(tmp_path):
    # Such as the upper bands of telephone audio: normalization amplifies what rounding leaves of them.
    model = small_model()
    audio, audio_len = np.random.default_rng(0).normal(0, 1e-7, (1, 16000)).astype(np.float32), np.array([16000])
    expected, frames = model.log_probs(audio, audio_len)
    found, _ = litert(tmp_path, model).log_probs(audio, audio_len)
    np.testing.assert_allclose(found[0], expected[0, : frames[0]], atol=1e-4)


@pytest.mark.parametrize("name", NOT_POSSIBLE)
def test_what_depends_on_padding_is_refused(name):
    model = small_model(name, "plain") if name in FRONT_ENDS else small_model("usual", name)
    with pytest.raises(UserError, match="saved_model or onnx"):
        build_litert(read_network(model))


def test_a_padded_batch_gives_what_each_recording_alone_gives(tmp_path):
    audio, audio_len = some_audio()
    exported = litert(tmp_path, small_model("usual", "excitation"))
    alone = [
        exported.log_probs(row[None, :n], np.array([n], np.int32))[0][0]
        for row, n in zip(audio, audio_len, strict=True)
    ]
    audio[2, audio_len[2] :] = np.nan  # padding has no meaning
    found, found_len = exported.log_probs(audio, audio_len)
    assert [*found_len] == [len(frames) for frames in alone]
    for row, frames in zip(found, alone, strict=True):
        np.testing.assert_array_equal(row[: len(frames)], frames)


@pytest.mark.parametrize("dilation", [1, 2])
def test_wide_depthwise_kernels_are_split_into_what_xnnpack_computes_fast(tmp_path, dilation):
    block = {"filters": 16, "repeat": 1, "kernel": [63], "dilation": [dilation], "separable": True, "residual": False}
    model = small_model(blocks=[block])
    audio, audio_len = some_audio()
    expected, _ = model.log_probs(audio[:1], audio_len[:1])
    found, _ = litert(tmp_path, model).log_probs(audio[:1], audio_len[:1])
    np.testing.assert_allclose(found[0], expected[0, : found.shape[1]], atol=5e-5)
    graph = read_file(tmp_path / "model.tflite").subgraphs[0]
    kernels = [tensor.shape for tensor in graph.tensors if b"depthwise/kernel" in tensor.name]
    assert [shape[2] for shape in kernels] == [9] * 7


def test_every_operator_is_builtin(tmp_path):
    for encoder in set(ENCODERS).difference(NOT_POSSIBLE):
        litert(tmp_path, small_model("usual", encoder))
        for code in read_file(tmp_path / "model.tflite").operatorCodes:
            assert code.builtinCode != schema.BuiltinOperator.CUSTOM and code.customCode is None


def read_file(file):
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(file.read_bytes()))
