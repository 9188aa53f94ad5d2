import base64

import numpy as np
import pytest

from jasper_tf.export.saved_model.writer import export
from jasper_tf.inference.saved_model import SavedModelTranscriber
from jasper_tf.serving.http.picture_data import picture_data
from jasper_tf.text.word_piece_tokenizer import WordPieceTokenizer
from tests.serving.http.conftest import noise


def bytes_of(picture: dict) -> np.ndarray:
    """values [frames, rows] as numbers from 0 to 1."""
    values = np.frombuffer(base64.b64decode(picture["values"]), np.uint8)
    return values.reshape(picture["frames"], -1) / 255


def test_the_pictures_show_features_and_probabilities_of_the_model(http_model):
    audio = noise(3, 1.5)
    found = picture_data(http_model, audio)
    log_probs, frames = http_model.log_probs(audio[None], np.array([len(audio)], np.int32))
    posterior = np.exp(log_probs[0, : frames[0]])
    labels = found["posterior"]["labels"]
    rows = [http_model.labels.index(label) for label in labels[1:]]
    assert labels[0] == "" and sorted(rows, reverse=True) == rows
    assert set(rows) == set(np.flatnonzero(posterior[:, :-1].max(axis=0) >= 0.1))
    np.testing.assert_allclose(bytes_of(found["posterior"]), posterior[:, [len(http_model.labels), *rows]], atol=0.003)
    features, _, feature_len = http_model.spectrograms({"audio": audio[None], "audio_len": np.array([len(audio)])})
    features = np.asarray(features)[0, : feature_len[0]]
    shown = bytes_of(found["spectrogram"])
    assert shown.shape == features.shape and len(found["spectrogram"]["band_hz"]) == features.shape[1]
    low, high = np.percentile(features, [1, 99.5])
    np.testing.assert_allclose(shown, np.clip((features - low) / (high - low), 0, 1), atol=0.003)


@pytest.mark.medium
def test_the_pictures_of_an_export_are_those_of_its_model(http_model, tmp_path):
    audio = noise(3, 1.5)
    ours = picture_data(http_model, audio)
    found = picture_data(SavedModelTranscriber(export(http_model, tmp_path)), audio)
    for name in ("spectrogram", "posterior"):
        np.testing.assert_allclose(bytes_of(found[name]), bytes_of(ours[name]), atol=0.005)
    assert found["spectrogram"]["band_hz"] == ours["spectrogram"]["band_hz"] != []


def test_a_model_without_features_and_audio_without_sound_are_no_errors(http_model):
    class Edge:
        sample_rate, frame_s, tokenizer = http_model.sample_rate, http_model.frame_s, http_model.tokenizer
        log_probs = staticmethod(http_model.log_probs)

    silence = np.zeros(1600, np.float32)
    found = picture_data(Edge(), silence)
    assert found["spectrogram"] is None and found["posterior"]["labels"][0] == ""
    assert picture_data(http_model, silence[:1])["posterior"]["frames"] >= 0


def test_of_a_thousand_pieces_those_that_occur_have_a_named_row():
    pieces = ["[UNK]", "[PAD]", *(f"w{number}" for number in range(1022))]
    rng = np.random.default_rng(0)
    log_probs = np.full((1, 200, 1025), -20, np.float32)
    said = rng.permutation(1024)[:60]
    said[0] = 1  # [PAD] writes nothing
    log_probs[0, np.arange(60), said] = np.log(np.linspace(0.95, 0.05, 60))

    class Exported:
        sample_rate, frame_s, tokenizer = 16000, 0.08, WordPieceTokenizer(pieces)

        def log_probs(self, audio, audio_len):
            return log_probs, np.array([200])

    posterior = picture_data(Exported(), np.zeros(1600, np.float32))["posterior"]
    assert sorted(posterior["labels"][1:]) == sorted(
        "[PAD]" if label == 1 else "[UNK]" if label == 0 else f" {pieces[label]}" for label in said[:48]
    )
    assert bytes_of(posterior).shape == (200, 49)
