"""The exported SavedModel: its signatures, what it refuses, what travels with it. Real models: test_same_answers.py."""

import json
import os
import re
import runpy
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.decoding.alignment import join_words, time_labels
from jasper_tf.errors import UserError
from jasper_tf.export.saved_model.folder import find_saved_model
from jasper_tf.export.saved_model.writer import EXTRA, export
from jasper_tf.inference.saved_model import SavedModelTranscriber

pytestmark = pytest.mark.medium

ROOT = Path(__file__).parents[3]
LABELS = list(" abcdefghijklmnopqrstuvwxyé'")


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(LABELS)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "new" / "model"
    return export(model, folder, config_yaml="name: tiny\n", report_json='{"wer": 0.5}')


@pytest.fixture(scope="module")
def loaded(exported):
    return tf.saved_model.load(str(exported))


def noise(seed, *seconds):
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.1, size=int(16000 * s)).astype(np.float32) for s in seconds]


def test_any_batch_and_length(model, exported):
    served = SavedModelTranscriber(exported)
    assert (list(served.tokenizer.pieces), served.sample_rate, served.frame_s) == (LABELS, 16000, model.frame_s)
    sounds = noise(1, 0.5, 1.7, 0.9, 1.1)
    texts = [*map(str, model.transcribe(sounds, batch_size=1))]
    assert all(texts)
    for batch_size in (1, 3, 16):
        assert [*map(str, served.transcribe(sounds, batch_size))] == texts
    assert served.transcribe([]) == []


def padded(sounds, behind=0.0):
    audio_len = np.array([len(sound) for sound in sounds], np.int32)
    audio = np.full((len(sounds), audio_len.max() + 1000), behind, np.float32)
    for row, sound in zip(audio, sounds, strict=True):
        row[: len(sound)] = sound
    return {"audio": tf.constant(audio), "audio_len": tf.constant(audio_len)}


def test_signatures_agree(model, exported, loaded):
    sounds = [np.round(sound * 2**15) / 2**15 for sound in noise(3, 0.5, 1.2, 0.1, 0.9)]
    call = {name: signature for name, signature in loaded.signatures.items()}
    out = {name: call[name](**padded(sounds)) for name in ("serving_default", "text", "features", "log_probs")}
    files = tf.stack([tf.audio.encode_wav(sound[:, None].astype(np.float32), 16000) for sound in sounds])
    out |= {name: call[name](audio=files) for name in ("audio_bytes", "audio_bytes_text")}
    assert set(out) == set(call)

    found = out["serving_default"]
    texts = [*map(str, model.transcribe([s.astype(np.float32) for s in sounds]))]
    assert [text.decode() for text in found["text"].numpy()] == texts
    for name, wanted in (
        ("audio_bytes", set(found)),
        ("text", {"text", "confidence"}),
        ("audio_bytes_text", set(out["text"])),
    ):
        assert set(out[name]) == wanted
        for key, value in out[name].items():
            same = np.testing.assert_array_equal if value.dtype in (tf.string, tf.int64) else np.testing.assert_allclose
            same(value.numpy(), found[key].numpy(), **({} if value.dtype in (tf.string, tf.int64) else {"atol": 1e-5}))

    # Words, times and confidences are those of the letters that the log-probabilities give in Python.
    log_probs, lengths = out["log_probs"]["log_probs"], out["log_probs"]["log_probs_len"]
    np.testing.assert_allclose(tf.reduce_sum(tf.exp(log_probs), -1), np.ones(log_probs.shape[:2]), atol=1e-5)
    letters = time_labels(model.decoding(log_probs, lengths).best(), model.tokenizer, model.frame_s)
    words = [join_words(utterance) for utterance in letters]
    assert found["words_row_lengths"].numpy().tolist() == [len(utterance) for utterance in words]
    flat = [word for utterance in words for word in utterance]
    assert [word.decode() for word in found["words"].numpy()] == [word.text for word in flat]
    for name in ("start_s", "end_s", "confidence"):
        np.testing.assert_allclose(found[f"words_{name}"], [getattr(word, name) for word in flat], atol=1e-5)
    assert all(0 < c <= 1 for c in found["confidence"].numpy())

    features, _, feature_len = model.spectrograms(padded(sounds), training=False)
    np.testing.assert_array_equal(out["features"]["feature_len"], feature_len)
    np.testing.assert_allclose(out["features"]["features"], features, atol=1e-5)


@pytest.mark.parametrize("behind", [np.nan, np.inf, 1e30, 0.3])
def test_what_lies_behind_the_length_is_never_looked_at(loaded, behind):
    sounds = noise(4, 0.4, 1.0)
    quiet, loud = (loaded.signatures["log_probs"](**padded(sounds, value)) for value in (0.0, behind))
    for row, length in enumerate(quiet["log_probs_len"]):
        np.testing.assert_allclose(loud["log_probs"][row, :length], quiet["log_probs"][row, :length], atol=1e-5)


def test_batchable(model, loaded, tmp_path):
    """TensorFlow Serving's batching cuts every output into as many rows as the inputs had, and fails if it cannot."""
    version = export(model, tmp_path, batchable=True)
    batchable = tf.saved_model.load(str(version))
    assert set(batchable.signatures) == set(loaded.signatures)
    sounds = noise(5, 0.3, 0.9, 0.5)
    files = tf.stack([tf.audio.encode_wav(sound[:, None], 16000) for sound in sounds])
    for name, call in batchable.signatures.items():
        for rows in (1, 3):
            inputs = {"audio": files[:rows]} if name.startswith("audio_bytes") else padded(sounds[:rows])
            found = call(**inputs)
            assert all(value.shape[0] == rows for value in found.values()), name
            if "text" in found:
                assert set(found) == {"text", "confidence"}
                expected = loaded.signatures["serving_default"](**padded(sounds[:rows]))
                assert found["text"].numpy().tolist() == expected["text"].numpy().tolist()
    # A version whose warm-up fails is not loaded.
    for signature, inputs in warmup_requests(version):
        assert all(value.shape[0] == 1 for value in batchable.signatures[signature](**inputs).values())


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"audio_len": [3, 4, 5]}, r"not the same number of rows:\] \[2\] \[3\]"),
        ({"audio_len": [10, 4000]}, r"audio_len\[1\]: is not between 1 and 2600"),
        ({"audio_len": [1, 0]}, r"audio_len\[1\]: is not between 1 and 2600"),
        ({"audio": np.full((2, 1600), [[0], [np.nan]])}, r"audio\[1\]: holds samples that are not finite numbers"),
    ],
)
def test_impossible_input(loaded, change, why):
    inputs = padded(noise(6, 0.1, 0.1)) | {
        key: np.array(v, np.float32 if key == "audio" else np.int32) for key, v in change.items()
    }
    for name in ("serving_default", "features", "log_probs"):
        with pytest.raises(tf.errors.InvalidArgumentError, match=why):
            loaded.signatures[name](**{key: tf.constant(value) for key, value in inputs.items()})


def test_broken_file(loaded):
    good = tf.audio.encode_wav(noise(7, 0.2)[0][:, None], 16000)
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"audio\[1\]: is no WAV file"):
        loaded.signatures["audio_bytes"](audio=tf.stack([good, b"fLaC"]))


def test_what_lies_beside(exported):
    extra = exported / EXTRA
    assert (extra / "config.yaml").read_text() == "name: tiny\n"
    assert json.loads((extra / "report.json").read_text()) == {"wer": 0.5}
    assert not (extra / "environment.json").exists()
    about = json.loads((extra / "model.json").read_text(encoding="utf-8"))
    assert about["labels"] == (extra / "vocabulary.txt").read_text(encoding="utf-8").split("\n")[:-1] == LABELS
    assert about["sample_rate"] == 16000 and about["frame_s"] == 0.02 and about["tensorflow"] == tf.__version__
    assert about["git_revision"] is None or re.fullmatch("[0-9a-f]{40}(-dirty)?", about["git_revision"])


def warmup_requests(version):
    """Signature and inputs of each, as TensorFlow Serving reads them: its own messages."""
    log = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="needs tensorflow-serving-api")
    for record in tf.data.TFRecordDataset(str(version / EXTRA / "tf_serving_warmup_requests")).as_numpy_iterator():
        request = log.PredictionLog.FromString(record).predict_log.request
        assert request.model_spec.name == version.parent.name
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in request.inputs.items()}
        yield request.model_spec.signature_name, inputs


def test_warmup_requests(exported, loaded):
    names = []
    for name, inputs in warmup_requests(exported):
        assert loaded.signatures[name](**inputs)["text"].shape == (1,)
        names.append(name)
    assert names == ["serving_default", "text", "audio_bytes", "audio_bytes_text"]


def test_versions_count_up_and_stay(model, exported):
    before = (exported / "saved_model.pb").read_bytes()
    (exported.parent / "9").mkdir()
    (exported.parent / "not-a-version").mkdir()
    assert [exported.name, export(model, exported.parent).name] == ["1", "10"]
    assert (exported / "saved_model.pb").read_bytes() == before
    assert find_saved_model(exported.parent).name == "10"
    assert find_saved_model(exported) == exported


def test_what_a_killed_export_left_is_in_nobodys_way(model, tmp_path):
    (tmp_path / f".writing-{os.getpid()}").mkdir()
    assert export(model, tmp_path).name == "1"


def test_complete_or_not_at_all(model, tmp_path):
    with pytest.raises(TypeError):
        export(model, tmp_path / "out", config_yaml=3)
    assert not (tmp_path / "out").exists()


def test_output_is_a_file(model, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="file: cannot write"):
        export(model, tmp_path / "file")


def test_no_saved_model_of_ours(tmp_path):
    assert find_saved_model(tmp_path) is None
    with pytest.raises(UserError, match="no SavedModel"):
        SavedModelTranscriber(tmp_path)
    tf.saved_model.save(tf.Module(), tmp_path / "other")
    with pytest.raises(UserError, match="not one that export.py wrote"):
        SavedModelTranscriber(tmp_path / "other")


def test_export_py(model, tmp_path, capfd):
    run = tmp_path / "run"
    run.mkdir()
    model.save(run / "model.keras")
    for name, text in (("config.yaml", "name: run\n"), ("environment.json", "[]"), ("report.json", '{"wer": 1}')):
        (run / name).write_text(text)
    export_main = runpy.run_path(str(ROOT / "export.py"))["main"]
    assert export_main([str(run), "--output", str(tmp_path / "out"), "--batchable"]) == 0
    [version] = (tmp_path / "out").iterdir()
    assert capfd.readouterr().out.splitlines()[-1] == str(version)
    for name in ("config.yaml", "environment.json", "report.json"):
        assert (version / EXTRA / name).read_text() == (run / name).read_text()
    sounds = noise(2, 0.8)
    both = (SavedModelTranscriber(version), model)
    ours, theirs = ([*map(str, one.transcribe(sounds))] for one in both)
    assert ours == theirs
    assert "words" not in tf.saved_model.load(str(version)).signatures["serving_default"].structured_outputs

    # The run's report is of its model.keras, not of what else lies there.
    (run / "model.keras").rename(run / "mean.keras")
    assert export_main([str(run / "mean.keras"), "--output", str(tmp_path / "mean")]) == 0
    capfd.readouterr()
    extra = tmp_path / "mean" / "1" / EXTRA
    assert (extra / "config.yaml").exists() and not (extra / "report.json").exists()

    assert export_main([str(tmp_path / "absent"), "--output", str(tmp_path / "out")]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"error: {tmp_path}/absent: ")
    (tmp_path / "bad.json").write_text("{")
    for report, why in (("absent.json", "cannot be read: No such file"), ("bad.json", "is not JSON")):
        mean, out = str(run / "mean.keras"), str(tmp_path / "out")
        assert export_main([mean, "--output", out, "--report", str(tmp_path / report)]) == 2
        assert capfd.readouterr().err.splitlines()[-1].startswith(f"error: {tmp_path}/{report}: {why}")
    assert [entry.name for entry in (tmp_path / "out").iterdir()] == ["1"]
