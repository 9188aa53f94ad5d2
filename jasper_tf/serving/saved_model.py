"""The recogniser as a TensorFlow SavedModel: raw audio in, text out, everything in the graph."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from jasper_tf.errors import UserError
from jasper_tf.jasper_ctc import JasperCTC, pad_audio

# TensorFlow Serving and the loader leave this folder alone; it is the place for what a client wants to know.
_EXTRA = "assets.extra"


def export(model: JasperCTC, output_folder: str | Path, config_yaml: str | None = None) -> Path:
    """Writes `output_folder/<version>`, the layout TensorFlow Serving watches; versions count up from 1.

    A version is written beside and renamed: it is complete or not there, and never replaces an older one.

    Signatures, both from audio [B,S] float32 (-1 to 1, at `model.sample_rate`) and audio_len [B] int32 (samples):
        serving_default: text [B] string (UTF-8).
        log_probs: log_probs [B,T',V+1] float32, log_probs_len [B] int32.

    Args:
        model: a trained recogniser.
        output_folder: made if it is not there.
        config_yaml: the run's configuration, kept as `assets.extra/config.yaml`.

    Returns:
        The folder of the new version.

    Raises:
        UserError: `output_folder` is a file or cannot be written to.
    """
    output = Path(output_folder)
    try:
        output.mkdir(parents=True, exist_ok=True)
        beside = output / f".writing-{os.getpid()}"
        beside.mkdir()
    except OSError as error:
        raise UserError(f"{error.filename}: cannot write the SavedModel: {error.strerror}; name a folder") from None
    try:
        _archive(model).write_out(str(beside), verbose=False)
        extra = beside / _EXTRA
        extra.mkdir()
        about = {"labels": list(model.labels), "sample_rate": model.sample_rate, "frame_s": model.frame_s}
        (extra / "model.json").write_text(json.dumps(about, ensure_ascii=False, indent=1), encoding="utf-8")
        if config_yaml is not None:
            (extra / "config.yaml").write_text(config_yaml, encoding="utf-8")
        return _publish(beside, output)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _archive(model: JasperCTC) -> keras.export.ExportArchive:
    inputs = [
        tf.TensorSpec((None, None), tf.float32, name="audio"),
        tf.TensorSpec((None,), tf.int32, name="audio_len"),
    ]

    def recognise(audio, audio_len):
        return model({"audio": audio, "audio_len": audio_len}, training=False)

    def text(audio, audio_len):
        out = recognise(audio, audio_len)
        return {"text": model.text_decoder(out["logits"], out["logit_len"])}

    def log_probs(audio, audio_len):
        out = recognise(audio, audio_len)
        return {"log_probs": tf.nn.log_softmax(out["logits"]), "log_probs_len": out["logit_len"]}

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", text, inputs)
    archive.add_endpoint("log_probs", log_probs, inputs)
    return archive


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

    Args:
        folder: a version's folder, or the folder above (then the newest version).

    Raises:
        UserError: no SavedModel there, or not one of `export`.
    """

    def __init__(self, folder: str | Path):
        found = find_saved_model(folder)
        if found is None:
            raise UserError(f"{folder}: holds no SavedModel (saved_model.pb); write one with export.py")
        try:
            about = json.loads((found / _EXTRA / "model.json").read_text(encoding="utf-8"))
        except OSError:
            raise UserError(f"{found}: is a SavedModel, but not one that export.py wrote (no {_EXTRA})") from None
        self.labels: list[str] = about["labels"]
        self.sample_rate: int = about["sample_rate"]
        self.frame_s: float = about["frame_s"]
        # The signature does not keep the variables alive, what was loaded does.
        self._loaded = tf.saved_model.load(str(found))
        self._recognise = self._loaded.signatures["serving_default"]

    def transcribe(self, audio: Sequence[np.ndarray], batch_size: int = 16) -> list[str]:
        """Texts of float32 arrays [S] at `sample_rate`, in the same order."""
        texts: list[str] = []
        for first in range(0, len(audio), batch_size):
            padded, audio_len = pad_audio(audio[first : first + batch_size])
            text = self._recognise(audio=tf.constant(padded), audio_len=tf.constant(audio_len))["text"]
            texts += [t.decode("utf-8") for t in text.numpy()]
        return texts


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
