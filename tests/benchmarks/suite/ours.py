"""This package's training step, inference, features, CTC, greedy decoding and batches."""

import functools
import os
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from pathlib import Path

import numpy as np
import tensorflow as tf
import work

sys.path.insert(0, str(work.ROOT))

from jasper_tf.config import load_config
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.export.edge.formats import FORMATS, open_model
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.export.saved_model.writer import export
from jasper_tf.losses.ctc import ctc_loss
from jasper_tf.model.flops import forward_flops, training_flops
from jasper_tf.model.jasper_ctc import JasperCTC, build_model
from jasper_tf.text.tokenizer import CharacterTokenizer
from jasper_tf.training.distributed.devices import set_precision
from jasper_tf.training.trainer import compile_model

LABELS = [*" abcdefghijklmnopqrstuvwxyz'"]


def matmul(size: int):
    """Square float32 matrices: the machine's peak."""
    a, b = tf.random.normal((2, size, size))

    def run():
        tf.linalg.matmul(a, b)[0, 0].numpy()

    run.flop = lambda: 2 * size**3
    return run


@functools.cache
def _tensors(numbers, *size) -> list[tf.Tensor]:
    return [tf.constant(array) for array in numbers(*size)]


def _config(config: str, *overrides: str):
    manifests = [f"model.{section}.manifest_filepath=none" for section in ("train_ds", "validation_ds")]
    return load_config(work.ROOT / config, [*manifests, *overrides])


def step(config: str, batch: int, seconds: float, size: int, precision: str = "32"):
    """A whole step: features, forward, CTC, backward, optimizer."""
    set_precision(precision)
    cfg = _config(config, f"trainer.precision={precision}")
    model = build_model(cfg)
    compile_model(model, cfg, 100_000)
    model.make_train_function()
    (audio, audio_len), (labels, label_len) = work.recordings(batch, seconds), work.labels(batch, size)
    x, y = {"audio": audio, "audio_len": audio_len}, {"labels": labels, "label_len": label_len}
    batches = iter(tf.data.Dataset.from_tensors((x, y)).repeat())

    def run():
        model.train_function(batches)["loss"].numpy()

    run.flop = lambda: batch * training_flops(model, audio.shape[1])
    return run


def inference(config: str):
    """Audio to log-probabilities, the Keras model in process."""
    model = build_model(_config(config))
    return _inference(model, model.log_probs)


def saved_model(config: str):
    """The same by the SavedModel's signature."""
    model = build_model(_config(config))
    with tempfile.TemporaryDirectory() as folder:
        loaded = tf.saved_model.load(str(export(model, folder)))
    signature = loaded.signatures["log_probs"]

    def log_probs(audio, audio_len):
        return signature(audio=tf.constant(audio), audio_len=tf.constant(audio_len))["log_probs"].numpy()

    log_probs.keep = loaded  # its variables end with it
    return _inference(model, log_probs)


def edge(config: str, format: str):
    """The same by LiteRT or ONNX Runtime."""
    model = build_model(_config(config))
    with tempfile.TemporaryDirectory() as folder:
        export_edge(model, Path(folder) / format, format, say=lambda line: None)
        exported = open_model(Path(folder) / format / FORMATS[format].file, work.THREADS)
    return _inference(model, exported.log_probs)


def _inference(model: JasperCTC, log_probs):
    def run(batch: int, seconds: float):
        log_probs(*work.recordings(batch, seconds))

    run.flop = lambda batch, seconds: batch * forward_flops(model, round(seconds * work.RATE))
    return run


def features(config: str):
    """Audio to normalized log-mels."""
    spectrograms = build_model(_config(config)).spectrograms
    compute = tf.function(lambda x: spectrograms(x, training=False)[0], reduce_retracing=True)

    def run(batch: int, seconds: float):
        audio, audio_len = _tensors(work.recordings, batch, seconds)
        compute({"audio": audio, "audio_len": audio_len}).numpy()

    return run


def ctc(jit_compile: bool = False):
    """Loss and its gradient with respect to the logits."""

    @tf.function(jit_compile=jit_compile)
    def loss_and_gradient(labels, label_len, logits, logit_len):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            loss = ctc_loss(labels, label_len, logits, logit_len)
        return loss, tape.gradient(loss, logits)

    def run(batch: int, frames: int, size: int):
        given = _tensors(work.labels, batch, size) + _tensors(work.logits, batch, frames)
        loss_and_gradient(*given)[1].numpy()

    return run


def greedy():
    """Log-probabilities to text."""
    tokenizer = CharacterTokenizer(LABELS)
    decoder = build_decoder(DecodingConfig())

    @tf.function(input_signature=[tf.TensorSpec((None, None, len(LABELS) + 1)), tf.TensorSpec([None], tf.int32)])
    def texts(log_probs, logit_len):
        return tokenizer.decode_in_graph(decoder(log_probs, logit_len).best().labels)

    def run(batch: int, frames: int):
        texts(*_tensors(work.spoken_log_probs, batch, frames)).numpy()

    return run


def batches(files: int, seconds: float):
    """FLAC files to shuffled padded batches of 16, two epochs of a pipeline that runs already."""
    manifest = read_manifest(str(work.flac_corpus(files, seconds)))
    source = SpeechBatches(manifest, CharacterTokenizer([*" abc"]), batch_size=16, shuffle=True, buckets=1)

    @tf.function
    def take(stream, steps):  # in a graph, as training takes them
        rows = 0
        for _ in tf.range(steps):
            rows += tf.shape(next(stream)[0]["audio"])[0]
        return rows

    def run():
        stream = iter(source.distributed(tf.distribute.get_strategy(), endless=True))
        next(stream)
        began = time.perf_counter()
        assert take(stream, tf.constant(2 * source.steps_per_epoch)) > 0
        return time.perf_counter() - began

    return run


def exporting(config: str, format: str):
    """A model to the files of an export, verified; a new model each time, of which nothing is traced yet."""

    def run():
        model = build_model(_config(config))
        began = time.perf_counter()
        with tempfile.TemporaryDirectory() as folder:
            if format == "saved_model":
                export(model, folder)
            else:
                export_edge(model, Path(folder) / format, format, say=lambda line: None)
        return time.perf_counter() - began

    return run


def beam(beam_size: int, batch: int):
    """Log-probabilities of QuartzNet on noisy speech to text, with a word 3-gram, on one thread."""
    from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
    from jasper_tf.decoding.beam.language_model import LanguageModel

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    pieces, log_probs = work.noisy_log_probs()
    tokenizer = CharacterTokenizer(pieces)
    model = LanguageModel.read(work.word_3gram(), tokenizer)
    decoder = BeamDecoder(tokenizer, {"beam_size": beam_size, **work.BEAM}, model)

    @tf.function(input_signature=[tf.TensorSpec((None, None, len(pieces) + 1)), tf.TensorSpec([None], tf.int32)])
    def texts(values, lengths):
        return tokenizer.decode_in_graph(decoder(values, lengths).best().labels)

    batches = []
    for at in range(0, len(log_probs), batch):
        some = log_probs[at : at + batch]
        padded = np.zeros((len(some), max(map(len, some)), len(pieces) + 1), np.float32)
        for row, array in zip(padded, some, strict=True):
            row[: len(array)] = array
        batches.append((tf.constant(padded), tf.constant([len(array) for array in some])))

    def run():
        for given in batches:
            texts(*given).numpy()

    return run
