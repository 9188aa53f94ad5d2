"""Features, layers, loss and greedy decoding are keras.ops: no TensorFlow, and the same numbers under JAX."""

import ast
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parents[1]
# The whole model, its training step and the moving average run on TensorFlow.
ON_TENSORFLOW = {f"jasper_tf.model.{name}" for name in ("acoustic_stages", "ctc_model", "jasper_ctc", "overview")}
ON_TENSORFLOW.add("jasper_tf.optim.exponential_moving_average")
# jax is no development dependency: 400 MB, and `import tensorflow` takes it in where it is installed. So it may be in
# another environment, with keras, pyyaml and sentencepiece.
JAX_PYTHON = os.environ.get("JASPER_JAX_PYTHON") or (sys.executable if importlib.util.find_spec("jax") else None)
needs_jax = pytest.mark.skipif(JAX_PYTHON is None, reason="needs jax; set JASPER_JAX_PYTHON to a python that has it")

# In a process of another backend TensorFlow must not even be importable.
WITHOUT_TENSORFLOW = """
import importlib, pkgutil, sys

class NoTensorFlow:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in ("tensorflow", "tensorflow_io"):
            raise ImportError(name)

sys.meta_path.insert(0, NoTensorFlow())
for room in ("features", "losses", "decoding"):
    package = importlib.import_module(f"jasper_tf.{room}")
    for module in pkgutil.iter_modules(package.__path__, f"jasper_tf.{room}."):
        importlib.import_module(module.name)
"""
LAYERS = """
import tempfile
import keras
import numpy as np
from keras import ops
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.confidence import frame_confidence
from jasper_tf.config.sections.confidence_schema import ConfidenceMethodConfig
from jasper_tf.decoding.forced_alignment import align
from jasper_tf.decoding.greedy.greedy_decoder import GreedyDecoder
from jasper_tf.features.log_mel import LogMelSpectrogram
from jasper_tf.features.normalize import FeatureNormalization
from jasper_tf.features.spec_augment import SpecAugment
from jasper_tf.features.spec_cutout import SpecCutout
from jasper_tf.features.splice import FrameSplicing
from jasper_tf.losses.ctc import CTCLoss
from jasper_tf.model.decoder import ConvASRDecoder
from jasper_tf.model.encoder import ConvASREncoder
from jasper_tf.text.tokenizer import CharacterTokenizer

draw = np.random.RandomState(0)
audio, audio_len = draw.normal(0, 0.1, (3, 8000)).astype("float32"), np.array([8000, 5000, 0], "int32")
spliced, length = FrameSplicing(2)(*LogMelSpectrogram(features=16, dither=0.0)(audio, audio_len))
features, length = FeatureNormalization()(spliced, length)
masked = SpecCutout(2)(SpecAugment(1, 1)(features, length, training=True), length, training=True)
assert masked.shape == features.shape

block = {"filters": 16, "repeat": 2, "kernel": 5, "residual": True, "se": True}
jasper = [
    {"filters": 16, "repeat": 1, "kernel": 5, "stride": 2, "residual": False},
    block,
    {**block, "separable": True, "groups": 2, "heads": 4, "dilation": 2, "residual_dense": True},
]
y = {"labels": np.array([[0, 1, 1], [2, 3, 0], [0, 0, 0]], "int32"), "label_len": np.array([3, 2, 1], "int32")}
results = {"features": features, "feature_len": length}


def gradients(encoder, decoder):
    variables = encoder.trainable_variables + decoder.trainable_variables
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            encoded, logit_len = encoder([features, length], training=True)
            loss = CTCLoss()(y, {"logits": decoder(encoded), "logit_len": logit_len})
        return tape.gradient(loss, variables)
    import jax

    def loss(values):
        first, second = values[: len(encoder.trainable_variables)], values[len(encoder.trainable_variables) :]
        others = [v.value for v in encoder.non_trainable_variables]
        (encoded, logit_len), _ = encoder.stateless_call(first, others, [features, length], training=True)
        return CTCLoss()(y, {"logits": decoder.stateless_call(second, [], encoded)[0], "logit_len": logit_len})

    return jax.jit(jax.grad(loss))([v.value for v in variables])


for mode in ("batch", "group"):
    encoder = ConvASREncoder(16, jasper, frame_splicing=2, normalization_mode=mode, norm_groups=4)
    decoder = ConvASRDecoder(4)
    decoder.build((None, None, 16))
    for variable in [*encoder.weights, *decoder.weights]:
        value = draw.normal(0, 0.3, variable.shape)
        variable.assign(0.5 + abs(value) if variable.name == "moving_variance" else value)
    before = [ops.copy(v.value) for v in encoder.non_trainable_variables]
    results |= {f"{mode} gradient {n}": g for n, g in enumerate(gradients(encoder, decoder))}
    for variable, value in zip(encoder.non_trainable_variables, before, strict=True):
        variable.assign(value)
    for training in (True, False):  # training first: then evaluation reads the running statistics that it moved
        encoded, logit_len = encoder([features, length], training=training)
        results[f"{mode} {training}"] = decoder(encoded)
    logits = results[f"{mode} False"]
results["loss"] = CTCLoss()(y, {"logits": logits, "logit_len": logit_len})
greedy = GreedyDecoder()(logits, logit_len)
results |= {"logit_len": logit_len, **greedy._asdict()}
log_probs = ops.log_softmax(logits)
aligned = align(log_probs, logit_len, y["labels"], y["label_len"])
results |= {f"forced {key}": value for key, value in aligned._asdict().items()}
with tempfile.NamedTemporaryFile("w", suffix=".arpa") as file:
    ngrams = "".join(f"-1.{n}\\t{word}\\n" for n, word in enumerate(["<unk>", "<s>", "</s>", "ab", "b", "cab"]))
    file.write(f"\\\\data\\\\\\nngram 1=6\\n\\n\\\\1-grams:\\n{ngrams}\\n\\\\end\\\\\\n")
    file.flush()
    settings = {"beam_size": 8, "n_best": 3, "hot_words": {"ab cb": 2.0}, "ngram_lm_model": file.name}
    beam = BeamDecoder(CharacterTokenizer(" abc"), settings)(logits, logit_len)
results |= {f"beam {key}": value for key, value in beam._asdict().items() if key in ("score", "label_len")}
results["frame_confidence"] = frame_confidence(log_probs, ConfidenceMethodConfig())
results = {key: ops.convert_to_numpy(value) for key, value in results.items()}
"""


def test_no_module_of_layers_imports_tensorflow():
    """Except behind a check of the backend, and in the functions that join strings in a TensorFlow graph."""
    rooms = ("features", "model", "losses", "decoding", "optim")
    files = [file for room in rooms for file in ROOT.glob(f"jasper_tf/{room}/**/*.py")]
    assert len(files) > 50
    for file in files:
        name = ".".join(file.relative_to(ROOT).with_suffix("").parts)
        if name in ON_TENSORFLOW:
            continue
        for node in ast.parse(file.read_text()).body:
            imported = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            imported += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            taken = [
                i for i in imported if i.partition(".")[0] in ("tensorflow", "tensorflow_io") or i in ON_TENSORFLOW
            ]
            assert not taken, (name, taken)


@pytest.mark.slow
@needs_jax
def test_the_same_numbers_under_jax(tmp_path):
    script = f"{WITHOUT_TENSORFLOW}{LAYERS}\nnp.savez(sys.argv[1], **results)"
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [JAX_PYTHON, "-c", script, str(tmp_path / "jax.npz")]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    here: dict = {}
    exec(LAYERS, here)  # under this process's backend, TensorFlow
    with np.load(tmp_path / "jax.npz") as there:
        assert set(there.files) == set(here["results"])
        for key, value in here["results"].items():
            np.testing.assert_allclose(there[key], value, rtol=1e-4, atol=1e-4, err_msg=key)


@pytest.mark.slow
@needs_jax
def test_the_benchmark_of_a_gpu_runs_on_a_cpu(tmp_path):
    environment = {**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    command = [JAX_PYTHON, "tests/benchmarks/gpu.py", "--tiny", "--output", str(tmp_path)]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    report = json.loads((tmp_path / "gpu.json").read_text())
    assert all(part["rows"] and "error" not in part for part in report["parts"].values())
    assert "jasper bf16, step" in (tmp_path / "gpu.md").read_text()
