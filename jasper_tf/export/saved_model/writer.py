"""The recogniser as a TensorFlow SavedModel: raw audio in, text out, everything in the graph."""

from __future__ import annotations

import json
import math
import secrets
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import tensorflow as tf

from jasper_tf import __version__
from jasper_tf.errors import UserError
from jasper_tf.export.saved_model.signatures import signatures
from jasper_tf.export.saved_model.warmup import WARMUP_FILE, write_warmup_requests
from jasper_tf.model.jasper_ctc import JasperCTC, pad_audio
from jasper_tf.serving.saved_model_graph import validate_graph
from jasper_tf.training.run.folder import git_revision

EXTRA = "assets.extra"
"""TensorFlow's loader leaves this folder alone; it is the place for what people and clients want to know."""


def export(
    model: JasperCTC,
    output_folder: str | Path,
    config_yaml: str | None = None,
    report_json: str | None = None,
    environment_json: str | None = None,
    batchable: bool = False,
) -> Path:
    """Writes `output_folder/<version>`, the layout TensorFlow Serving watches; versions count up from 1.

    A version is written beside and renamed: it is complete or not there, and never replaces an older one.

    Its signatures are those of `signatures`. In `assets.extra`, where the loader of a SavedModel looks at nothing
    (what lies in `assets` it feeds to the graph, and nothing in the graph reads these), it carries:

        model.json      labels, sample_rate, frame_s, and which git revision and versions wrote it
        vocabulary.txt  the labels, one a line
        config.yaml, report.json, environment.json    what is given
        tf_serving_warmup_requests    what TensorFlow Serving runs before it answers

    Args:
        model: a trained recogniser.
        output_folder: made if it is not there; its name is the model's in the warm-up requests.
        config_yaml: the run's configuration.
        report_json: what `evaluate --json` found.
        environment_json: of the run's folder: where and from which revision it was trained.
        batchable: without words, for servers that batch requests (see `signatures`).

    Returns:
        The folder of the new version.

    Raises:
        UserError: `output_folder` is a file or cannot be written to.
    """
    output = Path(output_folder)
    try:
        output.mkdir(parents=True, exist_ok=True)
        # In containers a process has the number of the one that was killed and left its folder.
        beside = output / f".writing-{secrets.token_hex(8)}"
        beside.mkdir()
    except OSError as error:
        raise UserError(f"{error.filename}: cannot write the SavedModel: {error.strerror}; name a folder") from None
    try:
        extra = beside / EXTRA
        extra.mkdir()
        about = {"labels": list(model.labels), "sample_rate": model.sample_rate, "frame_s": model.frame_s}
        about |= {"git_revision": git_revision(), "jasper_tf": __version__, "tensorflow": tf.__version__}
        (extra / "model.json").write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")
        (extra / "vocabulary.txt").write_text("".join(f"{label}\n" for label in model.labels), encoding="utf-8")
        given = {"config.yaml": config_yaml, "report.json": report_json, "environment.json": environment_json}
        for name, text in given.items():
            if text is not None:
                (extra / name).write_text(text, encoding="utf-8")
        write_warmup_requests(extra / WARMUP_FILE, output.resolve().name, model.sample_rate)
        # Not by keras.export.ExportArchive: it writes every weight twice (Keras 3.15).
        root = tf.Module()
        root.weights = [variable.value for variable in model.variables]
        functions = {
            name: tf.function(function, input_signature=inputs, autograph=False).get_concrete_function()
            for name, (function, inputs) in signatures(model, batchable).items()
        }
        tf.saved_model.save(root, str(beside), signatures=functions)
        return _publish(beside, output)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _publish(beside: Path, output: Path) -> Path:
    while True:
        version = output / str(max(_versions(output), default=0) + 1)
        try:
            beside.rename(version)
        except OSError:
            # Two exports at once: the other one took this number.
            if not version.exists():
                raise
        else:
            return version


def _versions(output: Path) -> list[int]:
    return [int(entry.name) for entry in output.iterdir() if entry.name.isdecimal()]


class SavedModelTranscriber:
    """An exported version as Python sees it, with `transcribe` as a JasperCTC has it.

    A SavedModel is a program; one whose operations do more than to compute is not loaded (see `validate_graph`).

    Args:
        folder: a version's folder, or the folder above (then the newest version).

    Raises:
        UserError: no SavedModel there, not one of `export`, damaged, or with operations that `export` never writes.
    """

    def __init__(self, folder: str | Path):
        found = find_saved_model(folder)
        if found is None:
            raise UserError(f"{folder}: holds no SavedModel (saved_model.pb); write one with export.py")
        self._folder = found
        self.labels, self.sample_rate, self.frame_s = _read_about(found)
        validate_graph(found)
        try:
            # The signature does not keep the variables alive, what was loaded does.
            self._loaded = tf.saved_model.load(str(found))
            self._recognise = self._loaded.signatures["text"]
            variables = [variable.numpy() for variable in self._loaded.weights]
            inputs, outputs = self._recognise.structured_input_signature[1], self._recognise.structured_outputs
        except Exception as error:  # of damaged files: the loader passes on every class of exception
            raise UserError(f"{found}: a damaged SavedModel ({_one_line(error)}); export it anew") from None
        expected = {"audio": (tf.float32, 2), "audio_len": (tf.int32, 1)}
        given = {name: (value.dtype, value.shape.rank) for name, value in inputs.items()}
        if given != expected or "text" not in outputs or outputs["text"].dtype != tf.string:
            raise UserError(f"{found}: its signature 'text' is not that of export.py: audio and audio_len to text")
        if not all(np.isfinite(values).all() for values in variables if values.dtype.kind == "f"):
            raise UserError(f"{found}: its weights have NaN or infinite values; export a model that is sound")

    def transcribe(self, audio: Sequence[np.ndarray], batch_size: int = 16) -> list[str]:
        """Texts of float32 arrays [S] at `sample_rate`, in the same order.

        Raises:
            UserError: the SavedModel fails at its work.
        """
        texts: list[str] = []
        for first in range(0, len(audio), batch_size):
            padded, audio_len = pad_audio(audio[first : first + batch_size])
            try:
                text = self._recognise(audio=tf.constant(padded), audio_len=tf.constant(audio_len))["text"]
                batch = [t.decode("utf-8") for t in text.numpy()]
            except (tf.errors.OpError, UnicodeDecodeError) as error:
                raise UserError(f"{self._folder}: the SavedModel failed ({_one_line(error)})") from None
            if len(batch) != len(audio_len):
                raise UserError(f"{self._folder}: gave {len(batch)} texts for {len(audio_len)} recordings")
            texts += batch
        return texts


def _read_about(folder: Path) -> tuple[list[str], int, float]:
    """Labels, sample rate and seconds per frame, of `model.json`."""
    file = folder / EXTRA / "model.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        labels, sample_rate, frame_s = about["labels"], about["sample_rate"], about["frame_s"]
    except OSError:
        raise UserError(f"{folder}: is a SavedModel, but not one that export.py wrote (no {EXTRA})") from None
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise UserError(f"{file}: cut off or damaged ({_one_line(error)}); export it anew") from None
    if (
        not isinstance(labels, list)
        or not all(isinstance(label, str) for label in labels)
        or type(sample_rate) is not int
        or not 1 <= sample_rate < 2**31
        or type(frame_s) not in (int, float)
        or not 0 < frame_s < math.inf
    ):
        raise UserError(f"{file}: labels, sample_rate and frame_s are not texts and two numbers above 0")
    return labels, sample_rate, frame_s


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def find_saved_model(folder: str | Path) -> Path | None:
    """`folder` if it is a SavedModel, the newest version if it holds versions of one, otherwise None."""
    folder = Path(folder)
    if (folder / "saved_model.pb").is_file():
        return folder
    if folder.is_dir():
        for version in sorted(_versions(folder), reverse=True):
            if (folder / str(version) / "saved_model.pb").is_file():
                return folder / str(version)
    return None
