"""An exported model transcribes like the model that it was made from, with every decoder."""

import dataclasses
import shutil

import numpy as np
import pytest

from jasper_tf import Transcriber
from jasper_tf.errors import UserError
from jasper_tf.export.edge.model_info import read_model_info
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.inference.edge.recognizer import EdgeRecognizer
from jasper_tf.inference.load_model import load_model, load_recognizer
from jasper_tf.inference.transcriber import Recognizer
from tests.export.edge.models import small_model, some_audio


@pytest.fixture(scope="module")
def model():
    return small_model("usual", "excitation")


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    return export_edge(model, tmp_path_factory.mktemp("edge") / "edge", "litert", say=lambda line: None)


def test_transcripts_are_those_of_the_model(model, exported):
    recordings = [row[:n] for row, n in zip(*some_audio(), strict=True)]
    for path in (exported, exported / "model.tflite"):
        recognizer: Recognizer = load_recognizer(path)
        for decoding in (None, {"strategy": "beam", "beam": {"beam_size": 4}}):
            found = Transcriber(recognizer, decoding=decoding).transcribe(recordings)
            wanted = Transcriber(model, decoding=decoding).transcribe(recordings)
            assert [one.text for one in found] == [one.text for one in wanted]
            assert [one.words for one in found] != [[]] * 4
            for one, other in zip(found, wanted, strict=True):
                starts = [[word.start_s for word in transcript.words] for transcript in (one, other)]
                assert starts[0] == starts[1] and one.duration_s == other.duration_s
    assert [one.text for one in recognizer.transcribe(recordings)] == [one.text for one in model.transcribe(recordings)]


def test_a_recording_too_short_for_a_frame_has_the_frames_of_the_model(model, exported):
    audio, length = np.full((1, 40), 0.1, np.float32), np.array([40], np.int32)
    expected, expected_len = model.log_probs(audio, length)
    found, found_len = load_recognizer(exported).log_probs(audio, length)
    np.testing.assert_array_equal(found_len, expected_len)
    np.testing.assert_allclose(found[0], expected[0, : expected_len[0]], atol=1e-4)


def test_what_is_damaged_is_named(model, exported, tmp_path):
    def copy(name, change):
        folder = shutil.copytree(exported, tmp_path / name)
        change(folder)
        return folder

    def cut(folder):
        (folder / "model.tflite").write_bytes((exported / "model.tflite").read_bytes()[:5000])

    def relabel(folder):
        info = read_model_info(folder / "model.json")
        other = dataclasses.replace(info, tokenizer=type(info.tokenizer)(list("ab")))
        (folder / "model.json").write_text(other.to_json(), encoding="utf-8")

    with pytest.raises(UserError, match="model.tflite: .*damaged"):
        EdgeRecognizer(copy("cut", cut))
    with pytest.raises(UserError, match="different exports"):
        EdgeRecognizer(copy("relabeled", relabel)).log_probs(*some_audio())
    with pytest.raises(UserError, match="model.json"):
        EdgeRecognizer(copy("alone", lambda folder: (folder / "model.json").unlink()) / "model.tflite")
    with pytest.raises(UserError, match="export.py"):
        EdgeRecognizer(tmp_path)
    with pytest.raises(UserError, match="cannot be trained"):
        load_model(exported)
