"""Transcribes with a SavedModel that export.py wrote."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from jasper_tf.config.decoding_schema import DecodingConfig
from jasper_tf.decoding.build_decoder import build_decoder
from jasper_tf.decoding.decoder import Decoder
from jasper_tf.decoding.words import word_outputs
from jasper_tf.errors import UserError, one_line
from jasper_tf.export.saved_model.graph import validate_graph
from jasper_tf.export.saved_model.writer import EXTRA, versions
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.text.tokenizer import CharacterTokenizer


class SavedModelTranscriber:
    """An exported model with the `recognize_batch` and `transcribe` of a JasperCTC.

    A SavedModel is a program: one with operations other than computations is not loaded (see `validate_graph`).

    Args:
        folder: a version's folder, or the folder above (then the newest version).

    Raises:
        UserError: there is no SavedModel, or one not written by `export`, damaged, or with operations that `export`
            never writes.
    """

    def __init__(self, folder: str | Path):
        found = find_saved_model(folder)
        if found is None:
            raise UserError(f"{folder}: holds no SavedModel (saved_model.pb); write one with export.py")
        self._folder = found
        labels, self.sample_rate, self.frame_s = _read_about(found)
        self.tokenizer = CharacterTokenizer(labels)
        self.decoding = build_decoder(DecodingConfig())
        validate_graph(found)
        try:
            # The signatures do not keep the variables alive, the loaded object does.
            self._loaded = tf.saved_model.load(str(found))
            self._signatures = self._loaded.signatures
            variables = [variable.numpy() for variable in self._loaded.weights]
            text = self._signatures["text"]
            inputs, outputs = text.structured_input_signature[1], text.structured_outputs
        except Exception as error:  # of damaged files: the loader raises every class of exception
            raise UserError(f"{found}: a damaged SavedModel ({one_line(error)}); export it anew") from None
        expected = {"audio": (tf.float32, 2), "audio_len": (tf.int32, 1)}
        given = {name: (value.dtype, value.shape.rank) for name, value in inputs.items()}
        if given != expected or "text" not in outputs or outputs["text"].dtype != tf.string:
            raise UserError(f"{found}: its signature 'text' is not that of export.py: audio and audio_len to text")
        if not all(np.isfinite(values).all() for values in variables if values.dtype.kind == "f"):
            raise UserError(f"{found}: its weights have NaN or infinite values; export a model with finite weights")

    def recognize_batch(
        self, audio: np.ndarray, audio_len: np.ndarray, words: bool = True, decoder: Decoder | None = None
    ) -> dict[str, np.ndarray]:
        """Recognizes audio [B,S] float32, audio_len [B] int32 -> text [B], with `words` also those of `word_outputs`.

        `decoder` None: the one in the graph.

        Raises:
            UserError: the SavedModel fails.
        """
        given = {"audio": tf.constant(audio), "audio_len": tf.constant(audio_len)}
        try:
            outputs = {}
            if decoder is None:
                outputs = self._signatures["serving_default" if words else "text"](**given)
            if "text" not in outputs or (words and "words" not in outputs):  # without words: exported as batchable
                frames = self._signatures["log_probs"](**given)
                decoder = decoder or self.decoding
                best = decoder(frames["log_probs"], frames["log_probs_len"]).best()
                outputs |= {"text": self.tokenizer.decode_in_graph(best.labels)}
                if words:
                    outputs |= word_outputs(best, self.tokenizer, self.frame_s, decoder.word_aggregation)
            found = {name: value.numpy() for name, value in outputs.items()}
            texts = [text.decode("utf-8") for text in found["text"]]
        except (tf.errors.OpError, UnicodeDecodeError, LookupError) as error:
            raise UserError(f"{self._folder}: the SavedModel failed ({one_line(error)})") from None
        if len(texts) != len(audio_len):
            raise UserError(f"{self._folder}: gave {len(texts)} texts for {len(audio_len)} recordings")
        return found

    def log_probs(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same as `JasperCTC.log_probs`.

        Raises:
            UserError: the SavedModel fails.
        """
        try:
            found = self._signatures["log_probs"](audio=tf.constant(audio), audio_len=tf.constant(audio_len))
            return found["log_probs"].numpy(), found["log_probs_len"].numpy()
        except (tf.errors.OpError, LookupError) as error:
            raise UserError(f"{self._folder}: the SavedModel failed ({one_line(error)})") from None

    def transcribe(self, recordings: Any, batch_size: int = 16, sample_rate: int | None = None) -> Any:
        """The same as `JasperCTC.transcribe`."""
        return Transcriber(self, batch_size=batch_size).transcribe(recordings, sample_rate)


def _read_about(folder: Path) -> tuple[list[str], int, float]:
    """Reads labels, sample rate and seconds per frame from `model.json`."""
    file = folder / EXTRA / "model.json"
    try:
        about = json.loads(file.read_text(encoding="utf-8"))
        labels, sample_rate, frame_s = about["labels"], about["sample_rate"], about["frame_s"]
    except OSError:
        raise UserError(f"{folder}: is a SavedModel, but not one that export.py wrote (no {EXTRA})") from None
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise UserError(f"{file}: cut off or damaged ({one_line(error)}); export it anew") from None
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


def find_saved_model(folder: str | Path) -> Path | None:
    """Returns `folder` if it is a SavedModel, its newest version if it holds versions, else None."""
    folder = Path(folder)
    if (folder / "saved_model.pb").is_file():
        return folder
    if folder.is_dir():
        for version in sorted(versions(folder), reverse=True):
            if (folder / str(version) / "saved_model.pb").is_file():
                return folder / str(version)
    return None
