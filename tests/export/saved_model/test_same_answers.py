"""What is served is what transcribe says: on the files of a test set, without this package, and without Python."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from jasper_tf.audio.load import load_audio
from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.export.saved_model.writer import export
from jasper_tf.inference.load_model import load_model
from jasper_tf.model.jasper_ctc import build_model

ONLY_TENSORFLOW = """
import sys
from pathlib import Path
import numpy as np, tensorflow as tf
loaded = tf.saved_model.load(sys.argv[1])
for folder in map(Path, sys.argv[2:]):
    found = np.load(folder / "in.npz")
    for signature in (folder / "signatures").read_text().split():
        for name, value in loaded.signatures[signature](**{key: tf.constant(found[key]) for key in found}).items():
            (folder / f"{name}.out").write_bytes(tf.make_tensor_proto(value.numpy()).SerializeToString())
assert not any(name.startswith("jasper_tf") for name in sys.modules)
"""


@pytest.fixture(scope="module", params=["tiny", "quartznet"])
def model_and_manifest(request):
    """Three blocks with random weights on synthesized speech, and NVIDIA's QuartzNet 15x5 on LibriSpeech: 16 files."""
    if request.param == "tiny":
        config, corpus = (request.getfixturevalue(name) for name in ("tiny_config", "spoken_corpus"))
        return build_model(config()), corpus / "test.jsonl"
    shared = request.getfixturevalue("shared")
    weights = shared / "pretrained" / "quartznet15x5_en.nemo"
    return load_model(weights), shared / "data/librispeech_mini/test_manifest.json"


@pytest.fixture(scope="module")
def served(model_and_manifest, tmp_path_factory):
    """SavedModel, requests (audio [B,S], audio_len [B], indices [B] of the files), and what the model says of each.

    The last 8 requests are of one short file each.
    """
    model, manifest = model_and_manifest
    lines = [json.loads(line) for line in manifest.read_text().splitlines()[:16]]
    sounds = [load_audio(manifest.parent / line["audio_filepath"], model.sample_rate) for line in lines]
    order = np.argsort([len(sound) for sound in sounds])[::-1]
    batches = [order[first : first + 8] for first in range(0, len(order), 8)]
    requests = [(*pad_audio([sounds[i] for i in batch]), batch) for batch in batches]
    for i in order[-4:]:  # alone, and alone before what is no silence
        audio, audio_len = pad_audio([sounds[i]])
        behind = np.full((1, 7777), 0.5, np.float32)
        requests += [(audio, audio_len, [i]), (np.concatenate([audio, behind], axis=1), audio_len, [i])]
    version = export(model, tmp_path_factory.mktemp("served"))
    texts, log_probs = {}, {}
    for audio, audio_len, batch in requests[: len(batches)]:
        text, logits, logit_len = model.recognize(audio, audio_len)
        for row, i in enumerate(batch):
            texts[i] = text[row].numpy()
            log_probs[i] = tf.nn.log_softmax(logits[row, : logit_len[row]]).numpy()
    some = order[-8:]
    assert [*map(str, model.transcribe([sounds[i] for i in some]))] == [texts[i].decode() for i in some]
    return version, requests, texts, log_probs


def written(requests, folder):
    folders = []
    for number, (audio, audio_len, _) in enumerate(requests):
        one = folder / str(number)
        one.mkdir()
        (one / "signatures").write_text("serving_default log_probs")
        np.savez(one / "in.npz", audio=audio, audio_len=audio_len)
        for name, value in (("audio", audio), ("audio_len", audio_len)):
            (one / f"{name}.in").write_bytes(tf.make_tensor_proto(value).SerializeToString())
        folders.append(str(one))
    return folders


def read(folder, name):
    return tf.make_ndarray(type(tf.make_tensor_proto(0)).FromString((folder / f"{name}.out").read_bytes()))


def assert_same(served, folders):
    _, requests, texts, log_probs = served
    for folder in map(Path, folders):
        _, _, batch = requests[int(folder.name)]
        assert not (folder / "error").exists(), (folder / "error").read_text()
        assert list(read(folder, "text")) == [texts[i] for i in batch]
        words = np.split(read(folder, "words"), np.cumsum(read(folder, "words_row_lengths"))[:-1])
        assert [list(row) for row in words] == [texts[i].split() for i in batch]
        found, lengths = read(folder, "log_probs"), read(folder, "log_probs_len")
        for row, i in enumerate(batch):
            assert lengths[row] == len(log_probs[i])
            np.testing.assert_allclose(found[row, : lengths[row]], log_probs[i], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("model_and_manifest", ["tiny"], indirect=True)
def test_a_process_that_knows_only_tensorflow(served, tmp_path):
    folders = written(served[1], tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", ONLY_TENSORFLOW, str(served[0]), *folders], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert_same(served, folders)


@pytest.mark.slow
def test_the_loader_of_tensorflow_serving(served, cpp_loader, tmp_path):
    folders = written(served[1], tmp_path)
    for signature in ("serving_default", "log_probs"):
        done = subprocess.run([cpp_loader, served[0], signature, *folders], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-3000:]
    assert_same(served, folders)
