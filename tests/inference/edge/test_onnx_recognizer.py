"""An exported ONNX model transcribes like the model that it was made from, in batches, with every decoder."""

import os

import numpy as np
import pytest

from jasper_tf import Transcriber
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.inference.load_model import load_recognizer
from tests.export.edge.models import small_model, some_audio


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    model = small_model("usual", "excitation")
    folder = export_edge(model, tmp_path_factory.mktemp("edge") / "edge", "onnx", say=lambda line: None)
    return model, load_recognizer(folder / "model.onnx")


@pytest.mark.parametrize("decoding", [None, {"strategy": "beam", "beam": {"beam_size": 4}}])
def test_transcripts_are_those_of_the_model(pair, decoding):
    recordings = [row[:n] for row, n in zip(*some_audio(), strict=True)]
    wanted, found = (Transcriber(one, decoding=decoding).transcribe(recordings) for one in pair)
    assert any(one.text for one in wanted)
    assert [one.text for one in found] == [one.text for one in wanted]
    times = [[[(word.start_s, word.end_s) for word in one.words] for one in side] for side in (found, wanted)]
    assert times[0] == times[1]


def test_it_has_as_many_threads_as_it_is_given(tmp_path):
    if not os.path.isdir("/proc/self/task"):
        pytest.skip("needs /proc")
    path = export_edge(small_model("usual", "plain"), tmp_path / "edge", "onnx", say=lambda line: None) / "model.onnx"
    kept, started = [], []
    for threads in (None, 3):
        before = len(os.listdir("/proc/self/task"))
        kept.append(load_recognizer(path, threads))
        started.append(len(os.listdir("/proc/self/task")) - before)
    assert started == [0, 2]


@pytest.mark.parametrize("samples", [1, 40, 160, 700])
def test_short_recordings_have_the_frames_of_the_model(pair, samples):
    audio, length = np.full((1, samples), 0.1, np.float32), np.array([samples], np.int32)
    (wanted, wanted_len), (found, found_len) = (one.log_probs(audio, length) for one in pair)
    np.testing.assert_array_equal(found_len, wanted_len)
    np.testing.assert_allclose(found[0, : wanted_len[0]], wanted[0, : wanted_len[0]], atol=1e-4)
