"""Exports a recognizer as a TensorFlow SavedModel: raw audio in, text out, all in the graph."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import json
import secrets
import shutil
from pathlib import Path

import tensorflow as tf

from jasper_tf import __version__
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.beam.beam_decoder import BeamDecoder
from jasper_tf.decoding.beam.text_models import LabelModel, WordModel
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.errors import UserError
from jasper_tf.export.saved_model.folder import EXTRA, versions
from jasper_tf.export.saved_model.signatures import signatures
from jasper_tf.export.saved_model.warmup import WARMUP_FILE, write_warmup_requests
from jasper_tf.io.environment import git_revision
from jasper_tf.model.jasper_ctc import JasperCTC
from jasper_tf.model.streaming.requirements import is_streamable
from jasper_tf.text.tokenizer import CharacterTokenizer


def export(
    model: JasperCTC,
    output_folder: str | Path,
    config_yaml: str | None = None,
    report_json: str | None = None,
    environment_json: str | None = None,
    batchable: bool = False,
    decoding: DecodingConfig | None = None,
) -> Path:
    """Writes `output_folder/<version>`, the layout that TensorFlow Serving watches; versions count from 1.

    A version is written to a temporary folder and renamed: it is complete or absent, and never replaces an older one.

    Its signatures are those of `signatures`. The files of `assets.extra`, which the loader of a SavedModel ignores (it
    feeds those of `assets` to the graph):

        model.json      labels, of word pieces also their tokenizer, sample_rate, frame_s, the `decoding` section with
                        the SHA-256 of its language model, the centers of the mel bands, the sizes of the signature
                        `stream` where there is one, and the git revision and versions that wrote it
        vocabulary.txt  the labels, one per line; a space in front of a word piece is one that it writes
        config.yaml, report.json, environment.json    as given
        tf_serving_warmup_requests    requests that TensorFlow Serving runs before it answers

    Args:
        model: a trained recognizer.
        output_folder: created if it does not exist; its name is the model's in the warm-up requests.
        config_yaml: the run's configuration.
        report_json: the output of `evaluate --json`.
        environment_json: of the run's folder: the machine and the revision of the training.
        batchable: without words, for servers that batch requests (see `signatures`).
        decoding: what gives the text; a beam search takes its language model along. Default: the model's own.

    Returns:
        The folder of the new version.

    Raises:
        UserError: `output_folder` is a file or cannot be written to; the language model or the hot words cannot be
            used.
    """
    decoding = model.decoding_config if decoding is None else decoding
    decoder = build_decoder(decoding, model.tokenizer)
    output = Path(output_folder)
    created = [folder for folder in (output, *output.parents) if not folder.exists()]
    try:
        output.mkdir(parents=True, exist_ok=True)
        # Not named by the process: in containers its number may be that of a killed one that left its folder.
        temporary = output / f".writing-{secrets.token_hex(8)}"
        temporary.mkdir()
    except OSError as error:
        raise UserError(f"{error.filename}: cannot write the SavedModel: {error.strerror}; name a folder") from None
    try:
        extra = temporary / EXTRA
        extra.mkdir()
        about: dict[str, object] = {
            "labels": list(model.labels),
            "sample_rate": model.sample_rate,
            "frame_s": model.frame_s,
        }
        if not isinstance(model.tokenizer, CharacterTokenizer):
            about["tokenizer"] = model.tokenizer.get_config()
        about |= {"decoding": dataclasses.asdict(decoding), "language_model_sha256": _language_model_sha256(decoding)}
        about |= {"git_revision": git_revision(), "jasper_tf": __version__, "tensorflow": tf.__version__}
        about["band_hz"] = [round(float(hz)) for hz in model.get_layer("log_mel").band_hz]
        if is_streamable(model):
            sizes = dataclasses.asdict(model.streaming.sizes)
            del sizes["state_size"]  # the signature's state also has the last label
            about["stream"] = sizes
        (extra / "model.json").write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")
        (extra / "vocabulary.txt").write_text("".join(f"{label}\n" for label in model.labels), encoding="utf-8")
        given = {"config.yaml": config_yaml, "report.json": report_json, "environment.json": environment_json}
        for name, text in given.items():
            if text is not None:
                (extra / name).write_text(text, encoding="utf-8")
        # Not by keras.export.ExportArchive: it writes every weight twice (Keras 3.15).
        root = tf.Module()
        root.weights = [variable.value for variable in model.variables]
        root.language_model = _keep_in_variables(decoder)
        functions, of_text, of_stream = {}, {}, None
        for name, (function, inputs) in signatures(model, decoder, batchable).items():
            functions[name] = tf.function(function, input_signature=inputs, autograph=False)
            if name == "stream":
                samples, width = model.streaming.flush_samples, inputs[-1].shape[1]
                values = (tf.zeros((1, samples)), tf.constant([samples]), tf.zeros((1, width)))
                of_stream = {spec.name: value for spec, value in zip(inputs, values, strict=True)}
            elif "text" in functions[name].get_concrete_function().structured_outputs:
                of_text[name] = [value.name for value in inputs]
        hot_word = next(filter(str.isalpha, model.tokenizer.word_pieces), "")
        write_warmup_requests(
            extra / WARMUP_FILE, output.resolve().name, of_text, model.sample_rate, hot_word, stream=of_stream
        )
        tf.saved_model.save(root, str(temporary), signatures=functions)
        return _publish(temporary, output)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        with contextlib.suppress(OSError):  # another export may be writing there
            for folder in created:
                folder.rmdir()
        raise


def _keep_in_variables(decoder: Decoder) -> list[tf.Variable]:
    """Puts variables in the place of the arrays of a language model.

    Constants would be in the file of the graph, which Protocol Buffers limit to 2 GB, and which is parsed as a whole.
    """
    if not isinstance(decoder, BeamDecoder):
        return []
    found = []
    models = [model for model in decoder.search.models if isinstance(model, WordModel | LabelModel)]
    for model in models:
        for tables in model.tables():
            for name, array in tables.items():
                tables[name] = tf.Variable(array, trainable=False, name=f"language_model/{name}")
                found.append(tables[name])
    return found


def _language_model_sha256(decoding: DecodingConfig) -> str | None:
    path = None if decoding.is_greedy else decoding.beam_settings().language_model
    if path is None:
        return None
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _publish(temporary: Path, output: Path) -> Path:
    while True:
        version = output / str(max(versions(output), default=0) + 1)
        try:
            temporary.rename(version)
        except OSError:
            # A concurrent export took this number.
            if not version.exists():
                raise
        else:
            return version
