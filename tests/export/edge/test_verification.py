"""An export is compared with the model that it was made from."""

import json

import numpy as np
import pytest
import soundfile

from jasper_tf.errors import DataError, UserError
from jasper_tf.export.edge import calibration
from jasper_tf.export.edge.calibration import CalibrationClip, read_calibration, synthesize_calibration
from jasper_tf.export.edge.model_info import read_model_info
from jasper_tf.export.edge.verification import verify
from jasper_tf.export.edge.writer import export_edge
from tests.export.edge.models import small_model


class Altered:
    """The model with something added to its log-probabilities, and frames cut off."""

    def __init__(self, model, offset=0.0, fewer=0):
        self.model, self.offset, self.fewer = model, offset, fewer

    def log_probs(self, audio, audio_len):
        log_probs, lengths = self.model.log_probs(audio, audio_len)
        return log_probs + self.offset, lengths - self.fewer


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(list(" abc"))


def test_differences_and_texts_are_counted(model):
    clips = [CalibrationClip(clip.audio, "a b") for clip in synthesize_calibration(16000)]
    same = verify(model, model, clips)
    assert (same.max_difference, same.texts_equal, same.clips) == (0, 3, 3)
    assert same.keras_wer == same.exported_wer and same.audio_s == 7.5
    moved = verify(model, Altered(model, np.array([0, 0, 0, 0.25, 0], np.float32)), clips)
    assert moved.max_difference == pytest.approx(0.25, rel=1e-4)
    other = verify(model, Altered(model, np.array([0, 0, 99, 0, 0], np.float32)), clips)  # says b only
    assert other.texts_equal == 0 and other.exported_wer != other.keras_wer


def test_without_texts_there_is_no_error_rate_and_it_is_said(model):
    found = verify(model, model, synthesize_calibration(16000))
    assert found.audio == "synthesized" and "keras_wer" not in found.to_dict()
    assert "synthesized" in str(found) and "WER" not in str(found)


def test_other_frames_and_nan_are_errors(model):
    clips = synthesize_calibration(16000)
    with pytest.raises(DataError, match="frames"):
        verify(model, Altered(model, fewer=1), clips)
    with pytest.raises(DataError, match="NaN"):
        verify(model, Altered(model, np.nan), clips)


def test_calibration_is_spread_over_the_manifest_and_what_is_left_out_is_said(tmp_path, monkeypatch):
    monkeypatch.setattr(calibration, "MOST_CLIPS", 3)
    lines = []
    for number, seconds in enumerate([0.1] * 6 + [31.0]):
        name = f"{number}.wav"
        if number != 5:
            soundfile.write(tmp_path / name, np.full(int(seconds * 16000), number / 10), 16000)
        lines.append({"audio_filepath": name, "duration": seconds, "text": str(number)})
    soundfile.write(tmp_path / "5.wav", np.zeros(0), 16000)  # cannot be read: it is empty
    (tmp_path / "m.json").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said: list[str] = []
    clips = read_calibration(str(tmp_path / "m.json"), 8000, said.append)
    assert [clip.text for clip in clips] == ["0", "2"] and [len(clip.audio) for clip in clips] == [800, 800]
    assert "5.wav" in said[0] and "2 of 7" in said[1]
    (tmp_path / "long.json").write_text(json.dumps(lines[-1]) + "\n")
    with pytest.raises(UserError, match="30 s"):
        read_calibration(str(tmp_path / "long.json"), 16000, said.append)


@pytest.mark.medium
@pytest.mark.parametrize("front_end", ["usual", "reflected"])
def test_recordings_shorter_than_a_frame_or_without_text_calibrate_too(tmp_path, front_end):
    model, lines = small_model(front_end), []
    for number, samples in enumerate([8000, 1]):
        soundfile.write(tmp_path / f"{number}.wav", np.random.default_rng(number).normal(0, 0.1, samples), 16000)
        lines.append(json.dumps({"audio_filepath": f"{number}.wav"}))
    (tmp_path / "m.json").write_text("\n".join(lines))
    for format in ("litert", "onnx"):
        said: list[str] = []
        output = tmp_path / format
        export_edge(model, output, format, "int8-static", calibration=str(tmp_path / "m.json"), say=said.append)
        assert read_model_info(output / "model.json").verification["clips"] == 2
        assert "2 recordings" in said[-1] and "WER" not in said[-1]


def test_bands_of_rounding_errors_are_no_reason_to_refuse_an_export(tmp_path):
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 1e-6, 16000), 16000, subtype="FLOAT")
    (tmp_path / "m.json").write_text(json.dumps({"audio_filepath": "a.wav"}))
    export_edge(small_model(), tmp_path / "edge", "litert", calibration=str(tmp_path / "m.json"), say=print)
    assert read_model_info(tmp_path / "edge" / "model.json").verification["p99_difference"] > 0.01
