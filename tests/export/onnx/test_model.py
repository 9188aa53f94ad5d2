"""ONNX models compute what their description says, in whole batches, in every precision."""

import numpy as np
import onnx
import onnxruntime
import pytest

from jasper_tf.export.edge.read_network import read_network
from jasper_tf.export.onnx.float16 import store_as_float16
from jasper_tf.export.onnx.int8 import StaticInt8
from jasper_tf.export.onnx.model import make_onnx
from jasper_tf.export.onnx.ranges import find_ranges
from tests.export.edge import float64_network
from tests.export.edge.models import ENCODERS, FRONT_ENDS, small_model, some_audio

CASES = [(front_end, "plain") for front_end in FRONT_ENDS] + [("usual", encoder) for encoder in ENCODERS]
CASES += [("pad_value", "no_mask"), ("reflected", "excitation"), ("reflected", "heads")]


def run(model: onnx.ModelProto, audio: np.ndarray, audio_len: np.ndarray, **options):
    onnx.checker.check_model(model, full_check=True)
    settings = onnxruntime.SessionOptions()
    for name, value in options.items():
        setattr(settings, name, value)
    session = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return session.run(["log_probs", "log_probs_len"], {"audio": audio, "audio_len": audio_len})


def valid(found):
    return np.concatenate([row[:frames] for row, frames in zip(*found, strict=True)])


@pytest.mark.parametrize(("front_end", "encoder"), CASES)
def test_a_padded_batch_has_the_values_of_the_description(front_end, encoder):
    network = read_network(small_model(front_end, encoder))
    expected = float64_network.log_probs(network, *some_audio())
    found = run(make_onnx(network).proto, *some_audio())
    np.testing.assert_array_equal(found[1], expected[1])
    np.testing.assert_allclose(valid(found), valid(expected), atol=3e-5)


@pytest.mark.parametrize("encoder", ["separable", "excitation", "strided_residual", "dense"])
def test_an_utterance_does_not_depend_on_its_batch(encoder):
    model = make_onnx(read_network(small_model("usual", encoder))).proto
    audio, audio_len = some_audio()
    together = run(model, audio, audio_len)
    for row, samples in enumerate(audio_len):
        padded = audio.copy()
        padded[:, samples:] = np.nan
        for alone in (audio[row : row + 1, :samples], padded[row : row + 1]):
            found, frames = run(model, alone, audio_len[row : row + 1])
            assert frames == together[1][row]
            np.testing.assert_allclose(found[0, : frames[0]], together[0][row, : frames[0]], atol=2e-5)


def test_files_are_for_common_runtimes():
    model = make_onnx(read_network(small_model())).proto
    assert model.ir_version == 8
    assert [(one.domain, one.version) for one in model.opset_import] == [("", 17)]


def test_float16_halves_the_weights_and_not_the_front_end():
    network = read_network(small_model("usual", "separable"))
    plain, halved = make_onnx(network).proto, make_onnx(network).proto
    store_as_float16(halved)
    audio = some_audio()
    difference = np.abs(valid(run(halved, *audio)) - valid(run(plain, *audio))).max()
    assert 0 < difference < 0.02
    kinds = {weight.name: weight.data_type for weight in halved.graph.initializer}
    assert kinds["front_end/dft"] == onnx.TensorProto.FLOAT
    assert kinds["encoder/block_1/conv/kernel_float16"] == kinds["head/conv/kernel_float16"] == onnx.TensorProto.FLOAT16


@pytest.mark.parametrize("encoder", ENCODERS)
@pytest.mark.parametrize("precision", ["static", "dynamic"])
def test_8_bits_stay_near(encoder, precision):
    network = read_network(small_model("usual", encoder))
    audio, audio_len = some_audio()
    if precision == "static":
        ranges = find_ranges(make_onnx(network), [row[:n] for row, n in zip(audio, audio_len, strict=True)])
        model = make_onnx(network, StaticInt8(ranges)).proto
    else:
        model = make_onnx(network, "dynamic").proto
    expected, found = float64_network.log_probs(network, audio, audio_len), run(model, audio, audio_len)
    np.testing.assert_array_equal(found[1], expected[1])
    difference = np.abs(valid(found) - valid(expected))
    assert 1e-3 < np.percentile(difference, 90) < 0.2


@pytest.mark.parametrize("encoder", ["plain", "separable", "excitation", "dense", "groups", "strided_residual"])
def test_convolutions_of_the_encoder_run_in_integers(encoder, tmp_path):
    network = read_network(small_model("usual", encoder))
    audio, audio_len = some_audio()
    model = make_onnx(network, StaticInt8(find_ranges(make_onnx(network), [audio[0]]))).proto
    run(model, audio, audio_len, optimized_model_filepath=str(tmp_path / "run.onnx"), log_severity_level=4)
    optimized = onnx.load(tmp_path / "run.onnx")
    kinds = [node.op_type for node in optimized.graph.node]
    assert kinds.count("QLinearConv") == len(list(network.convolutions()))
    assert sum(kind in ("Conv", "FusedConv") for kind in kinds) == 3  # DFT, mel, head


def test_ranges_hold_all_values():
    network = read_network(small_model())
    audio, audio_len = some_audio()
    recordings = [row[:n] for row, n in zip(audio, audio_len, strict=True)]
    ranges = find_ranges(make_onnx(network), recordings)
    features = [float64_network.features_of(network.front_end, x[None], [len(x)])[0] for x in recordings]
    low, high = min(x.min() for x in features), max(x.max() for x in features)
    assert ranges["features"] == pytest.approx((low, high), rel=1e-4)
    assert ranges["block_0"][0] == 0.0 < ranges["block_0"][1]
    assert ranges["block_1/1/conv"][0] < 0
