"""The exported beam search: its signatures, its language model, hot words and n-best in requests."""

import dataclasses
import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

from jasper_tf.__main__ import main
from jasper_tf.audio.load import load_audio
from jasper_tf.config.decoding_overrides import read_decoding
from jasper_tf.errors import UserError
from jasper_tf.export.saved_model.writer import EXTRA, export
from jasper_tf.inference.load_model import load_model
from jasper_tf.inference.saved_model import SavedModelTranscriber
from jasper_tf.inference.transcriber import Transcriber
from tests.export.saved_model.test_same_answers import ONLY_TENSORFLOW, read

pytestmark = pytest.mark.medium

LABELS = list(" abcdefghijklmnopqrstuvwxyé'")
ARPA = """\\data\\
ngram 1=7
ngram 2=3

\\1-grams:
-1.0\t<unk>\t0
0\t<s>\t-0.3
-1.0\t</s>\t0
-0.7\tbob\t-0.3
-0.9\tgag\t0
-1.1\tx\t0
-1.3\tdé\t0

\\2-grams:
-0.2\t<s> bob
-0.3\tbob gag
-0.4\tbob </s>

\\end\\
"""


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(LABELS)


@pytest.fixture(scope="module")
def lm(tmp_path_factory):
    file = tmp_path_factory.mktemp("lm") / "lm.arpa"
    file.write_text(ARPA, encoding="utf-8")
    return file


@pytest.fixture(scope="module")
def decoding(lm):
    beam = {"beam_size": 6, "ngram_lm_model": str(lm), "n_best": 3, "token_min_logp": -9.0}
    return read_decoding({"strategy": "beam", "beam": beam})


@pytest.fixture(scope="module")
def exported(model, decoding, tmp_path_factory):
    return export(model, tmp_path_factory.mktemp("serving") / "beam", decoding=decoding)


@pytest.fixture(scope="module")
def served(exported):
    return SavedModelTranscriber(exported)


def noise(seed, *seconds):
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.1, size=int(16000 * s)).astype(np.float32) for s in seconds]


SOUNDS = noise(1, 0.5, 1.7, 0.9)


def request(sounds, behind=0.0, hot_words=None):
    audio_len = np.array([len(sound) for sound in sounds], np.int32)
    audio = np.full((len(sounds), audio_len.max() + 1000), behind, np.float32)
    for row, sound in zip(audio, sounds, strict=True):
        row[: len(sound)] = sound
    hot_words = hot_words or {}
    return {
        "audio": tf.constant(audio),
        "audio_len": tf.constant(audio_len),
        "hot_words": tf.constant(list(hot_words), tf.string),
        "hot_word_weights": tf.constant(list(hot_words.values()), tf.float32),
    }


def texts_and_scores(transcripts):
    return [[(one.text, pytest.approx(one.score, abs=2e-3)) for one in found.n_best] for found in transcripts]


@pytest.mark.parametrize("hot_words", [None, {"Bob gag": 12.0, "é": 3.0}])
def test_the_same_as_in_python(model, decoding, served, hot_words):
    """Alone, in a batch and padded with what is no silence; the greedy texts are others."""
    python = Transcriber(model, decoding=decoding).transcribe(SOUNDS, hot_words=hot_words)
    for batch_size in (1, 3):
        found = served.transcribe(SOUNDS, batch_size, hot_words=hot_words)
        assert texts_and_scores(python) == [[(one.text, one.score) for one in each.n_best] for each in found]
        for ours, theirs in zip(found, python, strict=True):
            assert ours.text == ours.n_best[0].text == " ".join(word.text for word in ours.words)
            assert [(w.text, w.start_s, w.end_s) for w in ours.words] == [
                (w.text, w.start_s, w.end_s) for w in theirs.words
            ]
    found = served._signatures["serving_default"](**request(SOUNDS, 0.7, hot_words))
    assert [text.decode() for text in found["text"].numpy()] == [one.text for one in python]
    assert found["n_best_text"].shape == found["n_best_score"].shape == (3, 3)
    greedy = model.transcribe(SOUNDS)
    assert all(one.n_best is None for one in greedy)
    assert [one.text for one in greedy] != [one.text for one in python]


def test_hot_words_of_the_request_change_the_text(served):
    plain, hot = served.transcribe(SOUNDS), served.transcribe(SOUNDS, hot_words={"Gag Bob": 30.0})
    assert not any("gag bob" in one.text for one in plain) and any("gag bob" in one.text for one in hot)
    listed, weighted = (served.transcribe(SOUNDS, hot_words=given) for given in (["gag bob"], {"gag bob": 8.0}))
    assert [one.n_best for one in listed] == [one.n_best for one in weighted] != [one.n_best for one in plain]
    assert [one.text for one in served.transcribe(SOUNDS, hot_words={})] == [one.text for one in plain]


def test_signatures(model, exported, served):
    call = served._signatures
    of_beam = {"serving_default", "text", "audio_bytes", "audio_bytes_text"}
    of_greedy = {"greedy", "greedy_text", "greedy_audio_bytes", "greedy_audio_bytes_text"}
    assert set(call) == of_beam | of_greedy | {"features", "log_probs"}
    for name in call:
        takes = set(call[name].structured_input_signature[1])
        assert (name in of_beam) == ({"hot_words", "hot_word_weights"} <= takes)
    sounds = [np.round(sound * 2**15).astype(np.float32) / 2**15 for sound in SOUNDS]
    files = tf.stack([tf.audio.encode_wav(sound[:, None], 16000) for sound in sounds])
    inputs = request(sounds, hot_words={"bob": 9.0})
    hot = {key: inputs[key] for key in ("hot_words", "hot_word_weights")}
    plain = {key: inputs[key] for key in ("audio", "audio_len")}
    for whole, text, of_files, given, more in (
        ("serving_default", "text", "audio_bytes", inputs, hot),
        ("greedy", "greedy_text", "greedy_audio_bytes", plain, {}),
    ):
        found = call[whole](**given)
        for name, others in (
            (text, call[text](**given)),
            (of_files, call[of_files](audio=files, **more)),
            (f"{of_files}_text", call[f"{of_files}_text"](audio=files, **more)),
        ):
            assert set(others) == {key for key in found if name == of_files or not key.startswith("words")}, name
            assert others["text"].numpy().tolist() == found["text"].numpy().tolist()
    assert [text.decode() for text in found["text"].numpy()] == [one.text for one in model.transcribe(sounds)]


def test_values_for_a_request_without_hot_words(exported):
    saved = saved_model_pb2.SavedModel.FromString((exported / "saved_model.pb").read_bytes())
    for name, signature in saved.meta_graphs[0].signature_def.items():
        assert set(signature.defaults) == {key for key in signature.inputs if key.startswith("hot_word")}, name
        assert all(tf.make_ndarray(value).shape == (0,) for value in signature.defaults.values())


@pytest.mark.parametrize(
    ("hot_words", "said"),
    [({"b0b": 3.0}, "0"), ({"bob": 99.0}, "weight")],
)
def test_a_wrong_hot_word_is_named(served, hot_words, said):
    with pytest.raises(UserError, match=f"hot word '{min(hot_words)}': .*{said}"):
        served.transcribe(SOUNDS[0], hot_words=hot_words)
    with pytest.raises(tf.errors.InvalidArgumentError, match=rf"hot_words\[0\]: .*{min(hot_words)}"):
        served._signatures["serving_default"](**request(SOUNDS, hot_words=hot_words))


def test_another_decoding_through_its_log_probs(model, served, lm):
    for other in ({"strategy": "greedy"}, {"strategy": "beam", "beam": {"beam_size": 2}}):
        ours, theirs = (one.transcribe(SOUNDS, decoding=other) for one in (served, model))
        assert [one.text for one in ours] == [one.text for one in theirs]
    wanted = {"strategy": "beam", "beam": {"ngram_lm_model": str(lm), "beam_size": 4}}
    ours, theirs = (one.transcribe(SOUNDS, decoding=wanted, hot_words={"gag": 20.0}) for one in (served, model))
    assert [one.text for one in ours] == [one.text for one in theirs] and any("gag" in one.text for one in ours)


def test_what_lies_beside(exported, decoding, lm, served):
    about = json.loads((exported / EXTRA / "model.json").read_text(encoding="utf-8"))
    assert read_decoding(about["decoding"]) == decoding == served.decoding_config
    assert about["language_model_sha256"] == hashlib.sha256(lm.read_bytes()).hexdigest()


def test_warmup_requests_fit(exported):
    log = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2", reason="needs tensorflow-serving-api")
    loaded, names = tf.saved_model.load(str(exported)), []
    for record in tf.data.TFRecordDataset(str(exported / EXTRA / "tf_serving_warmup_requests")).as_numpy_iterator():
        asked = log.PredictionLog.FromString(record).predict_log.request
        inputs = {key: tf.constant(tf.make_ndarray(value)) for key, value in asked.inputs.items()}
        names.append(asked.model_spec.signature_name)
        assert loaded.signatures[names[-1]](**inputs)["text"].shape == (1,)
    assert len(names) == len(set(names)) == 8


def test_the_language_model_is_there_once_and_not_in_the_graph(exported, model, tmp_path):
    plain = export(model, tmp_path)
    size = (exported / "saved_model.pb").stat().st_size
    loaded = tf.saved_model.load(str(exported))
    names = [variable.name for variable in loaded.language_model]
    assert len(names) == len(set(names)) > 8 and all(name.startswith("language_model/") for name in names)
    assert size < 8 * (plain / "saved_model.pb").stat().st_size


def test_batchable(model, decoding, tmp_path):
    """Each input and output has B rows; the words of one's own configuration stay hot."""
    own = dataclasses.replace(decoding, beam=dataclasses.replace(decoding.beam, hot_words={"gag bob": 30.0}))
    version = export(model, tmp_path / "batchable", batchable=True, decoding=own)
    loaded = tf.saved_model.load(str(version))
    inputs = {key: value for key, value in request(SOUNDS).items() if key.startswith("audio")}
    for name in ("serving_default", "text", "greedy"):
        found = loaded.signatures[name](**inputs)
        assert all(value.shape[0] == 3 for value in found.values()) and "words" not in found
    python = Transcriber(model, decoding=own).transcribe(SOUNDS)
    texts = [text.decode() for text in loaded.signatures["text"](**inputs)["text"].numpy()]
    assert texts == [one.text for one in python] and any("gag bob" in text for text in texts)
    batchable = SavedModelTranscriber(version)
    assert [one.text for one in batchable.transcribe(SOUNDS)] == texts
    with pytest.raises(UserError, match="takes none"):
        batchable.recognize_batch(*(inputs[key].numpy() for key in ("audio", "audio_len")), False, None, {"bob": 1.0})

    # Not batchable: a request without hot words has those of the configuration.
    whole = SavedModelTranscriber(export(model, tmp_path / "whole", decoding=own))
    assert [one.text for one in whole.transcribe(SOUNDS)] == texts
    assert [one.text for one in whole.transcribe(SOUNDS, hot_words={"é": 0.1})] != texts


@pytest.mark.slow
@pytest.mark.parametrize("loader", ["python", "c++"])
def test_without_this_package(model, decoding, exported, request, tmp_path, loader):
    """In a process that knows only TensorFlow, and by the loader of TensorFlow Serving."""
    hot_words = {"Gag Bob": 30.0}
    expected = Transcriber(model, decoding=decoding).transcribe(SOUNDS, hot_words=hot_words)
    inputs = {key: value.numpy() for key, value in globals()["request"](SOUNDS, 0.5, hot_words).items()}
    inputs["hot_words"] = inputs["hot_words"].astype("S")
    np.savez(tmp_path / "in.npz", **inputs)
    for name, value in inputs.items():
        (tmp_path / f"{name}.in").write_bytes(tf.make_tensor_proto(value).SerializeToString())
    (tmp_path / "signatures").write_text("serving_default")
    command = [sys.executable, "-c", ONLY_TENSORFLOW, exported, tmp_path]
    if loader == "c++":
        command = [request.getfixturevalue("cpp_loader"), exported, "serving_default", tmp_path]
    done = subprocess.run([*map(str, command)], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0 and not (tmp_path / "error").exists(), done.stderr[-3000:]
    assert [text.decode() for text in read(tmp_path, "text")] == [one.text for one in expected]
    for texts, one in zip(read(tmp_path, "n_best_text"), expected, strict=True):
        found = [text.decode() for text in texts]
        assert found == [each.text for each in one.n_best] + [""] * (3 - len(one.n_best))


@pytest.mark.slow
def test_a_trained_model(shared, tmp_path):
    """With a model of words: what is served is what Python says, alone, in a batch and padded."""
    model = load_model(shared / "pretrained" / "an4_anchor.nemo")
    folder = shared / "data" / "an4"
    lines = [json.loads(line) for line in (folder / "dev_manifest.json").read_text().splitlines()[:6]]
    sounds = [load_audio(folder / line["audio_filepath"], model.sample_rate) for line in lines]
    beam = {"beam_size": 8, "n_best": 2, "ngram_lm_model": str(shared / "decoding" / "lm" / "tiny_3gram.arpa.gz")}
    decoding = read_decoding({"strategy": "beam", "beam": beam})
    served = SavedModelTranscriber(export(model, tmp_path, decoding=decoding))
    hot_words = {"j q five": 8.0}
    expected = Transcriber(model, decoding=decoding).transcribe(sounds, hot_words=hot_words)
    found = [served.transcribe(sounds, batch_size, hot_words=hot_words) for batch_size in (1, 6)]
    padded = served._signatures["text"](**request(sounds, 0.3, hot_words))["text"].numpy()
    for k, one in enumerate(expected):
        assert {found[0][k].text, found[1][k].text, padded[k].decode()} == {one.text}
        assert [w.text for w in found[1][k].words] == one.text.split()
    assert [one.text for one in expected] != [one.text for one in model.transcribe(sounds)]


def run_of(model, folder: Path) -> Path:
    folder.mkdir()
    model.save(folder / "model.keras")
    return folder


def test_command(model, decoding, lm, tmp_path, capfd):
    run = run_of(model, tmp_path / "run")
    overrides = ["decoding.beam.beam_size=6", "decoding.beam.n_best=3", "decoding.beam.token_min_logp=-9"]
    command = ["export", str(run), "--lm", str(lm), "--output", str(tmp_path / "out"), *overrides]
    assert main(command) == 0
    version = Path(capfd.readouterr().out.splitlines()[-1])
    assert SavedModelTranscriber(version).decoding_config == decoding
    assert main(["export", str(run), "--output", str(tmp_path / "greedy")]) == 0
    assert (
        "hot_words"
        not in tf.saved_model.load(str(tmp_path / "greedy/1")).signatures["text"].structured_input_signature[1]
    )
    capfd.readouterr()
    for wrong, said in (
        (["--lm", str(tmp_path / "absent.arpa")], "absent.arpa: no such file"),
        (["--lm", str(lm), "decoding.strategy=greedy"], "add decoding.strategy=beam"),
        (["decoding.beam.beam_size=0"], "decoding.beam.beam_size"),
        (["decoding.strategy=beem"], "decoding.strategy"),
        (["seed=3"], "'seed=3' is not an override"),
    ):
        assert main(["export", str(run), "--output", str(tmp_path / "no"), *wrong]) == 2
        out, err = capfd.readouterr()
        assert out == "" and said in err and len(err.splitlines()) == 1
    assert not (tmp_path / "no").exists()
