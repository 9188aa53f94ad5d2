"""The exported SavedModel gives what the model gives, in a process that knows only TensorFlow."""

import json
import runpy
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.serving.saved_model import SavedModelTranscriber, export, find_saved_model

ROOT = Path(__file__).parents[2]
LABELS = list(" abcdefghijklmnopqrstuvwxyé'")


@pytest.fixture(scope="module")
def model(untrained_model):
    return untrained_model(LABELS)


@pytest.fixture(scope="module")
def exported(model, tmp_path_factory):
    folder = tmp_path_factory.mktemp("serving") / "new" / "model"
    return export(model, folder, config_yaml="name: tiny\n")


def noise(seed, *seconds):
    rng = np.random.default_rng(seed)
    return [rng.normal(scale=0.1, size=int(16000 * s)).astype(np.float32) for s in seconds]


ONLY_TENSORFLOW = """
import sys
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
found = dict(np.load(sys.argv[2]))
inputs = {key: tf.constant(found[key]) for key in ("audio", "audio_len")}
call = lambda name: loaded.signatures[name](**inputs)
found["text"] = call("serving_default")["text"].numpy().astype("S")
found.update({key: value.numpy() for key, value in call("log_probs").items()})
assert not any(name.startswith("jasper_tf") for name in sys.modules)
np.savez(sys.argv[3], **found)
"""


def test_a_process_with_only_tensorflow(model, exported, tmp_path):
    sounds = noise(0, 1.0, 2.3, 0.4)
    audio_len = np.array([len(s) for s in sounds], np.int32)
    audio = np.stack([np.pad(s, (0, audio_len.max() - len(s))) for s in sounds])
    np.savez(tmp_path / "in.npz", audio=audio, audio_len=audio_len)
    command = [sys.executable, "-c", ONLY_TENSORFLOW, exported, tmp_path / "in.npz", tmp_path / "out.npz"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    found = np.load(tmp_path / "out.npz")
    assert [text.decode() for text in found["text"]] == model.transcribe(sounds)
    out = model({"audio": audio, "audio_len": audio_len}, training=False)
    np.testing.assert_array_equal(found["log_probs_len"], out["logit_len"])
    np.testing.assert_allclose(found["log_probs"], tf.nn.log_softmax(out["logits"]), atol=1e-4)


def test_any_batch_and_length(model, exported):
    served = SavedModelTranscriber(exported)
    assert (served.labels, served.sample_rate, served.frame_s) == (LABELS, 16000, model.frame_s)
    sounds = noise(1, 0.5, 1.7, 0.9, 1.1)
    texts = model.transcribe(sounds, batch_size=1)
    assert all(texts)
    for batch_size in (1, 3, 16):
        assert served.transcribe(sounds, batch_size) == texts
    assert served.transcribe([]) == []


def test_what_lies_beside(exported):
    assert (exported / "assets.extra" / "config.yaml").read_text() == "name: tiny\n"
    assert json.loads((exported / "assets.extra" / "model.json").read_text(encoding="utf-8"))["labels"] == LABELS


def test_versions_count_up_and_stay(model, exported):
    before = (exported / "saved_model.pb").read_bytes()
    (exported.parent / "9").mkdir()
    (exported.parent / "not-a-version").mkdir()
    assert [exported.name, export(model, exported.parent).name] == ["1", "10"]
    assert (exported / "saved_model.pb").read_bytes() == before
    assert find_saved_model(exported.parent).name == "10"
    assert find_saved_model(exported) == exported


def test_complete_or_not_at_all(model, tmp_path):
    with pytest.raises(TypeError):
        export(model, tmp_path / "out", config_yaml=3)
    assert list((tmp_path / "out").iterdir()) == []


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
    (run / "config.yaml").write_text("name: run\n")
    export_main = runpy.run_path(str(ROOT / "export.py"))["main"]
    assert export_main([str(run), "--output", str(tmp_path / "out")]) == 0
    [version] = (tmp_path / "out").iterdir()
    assert capfd.readouterr().out.splitlines()[-1] == str(version)
    assert (version / "assets.extra" / "config.yaml").read_text() == "name: run\n"
    sounds = noise(2, 0.8)
    assert SavedModelTranscriber(version).transcribe(sounds) == model.transcribe(sounds)

    assert export_main([str(tmp_path / "absent"), "--output", str(tmp_path / "out")]) == 2
    assert capfd.readouterr().err.splitlines()[-1].startswith(f"error: {tmp_path}/absent: ")
