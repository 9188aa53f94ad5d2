"""Transcribes with a SavedModel that export.py wrote."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from jasper_tf.config.decoding_overrides import read_decoding
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.decoding.beam.hot_word_file import GivenHotWords, weigh_hot_words
from jasper_tf.decoding.beam.hot_words import encode_hot_words
from jasper_tf.decoding.deferred import DeferredDecoder
from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder
from jasper_tf.errors import UserError, one_line
from jasper_tf.export.saved_model.folder import EXTRA, find_saved_model
from jasper_tf.export.saved_model.graph import validate_graph
from jasper_tf.io.bounded_file import read_bounded
from jasper_tf.model.streaming.stream_sizes import StreamSizes
from jasper_tf.model.transcribing_model import TranscribingModel
from jasper_tf.text.tokenizer import CharacterTokenizer, Tokenizer, tokenizer_from_config

_MOST_BYTES = 1 << 24
"""Of `model.json`."""
_HOT_WORDS = {"hot_words": (tf.string, 1), "hot_word_weights": (tf.float32, 1)}


class SavedModelTranscriber(TranscribingModel):
    """An exported model with the `recognize_batch` and `transcribe` of a JasperCTC.

    A SavedModel is a program: one with operations other than computations is not loaded (see `validate_graph`).

    Args:
        folder: a version's folder, or the folder above (then the newest version).

    Attributes:
        band_hz: centers of the bands of `features`, Hz; empty if they are not known.
        streaming: sizes of its steps on live audio, as `JasperCTC.streaming` has them; None: it needs whole recordings.

    Raises:
        UserError: there is no SavedModel, or one not written by `export`, damaged, or with operations that `export`
            never writes.
    """

    def __init__(self, folder: str | Path):
        found = find_saved_model(folder)
        if found is None:
            raise UserError(f"{folder}: holds no SavedModel (saved_model.pb); write one with export.py")
        self._folder = found
        about = _read_about(found)
        self.sample_rate, self.frame_s, self.decoding_config = about.sample_rate, about.frame_s, about.decoding
        self.band_hz = about.band_hz
        self.tokenizer = about.tokenizer
        self.decoding = DeferredDecoder(self.decoding_config, self.tokenizer)
        validate_graph(found)
        try:
            # The signatures do not keep the variables alive, the loaded object does.
            self._loaded = tf.saved_model.load(str(found))
            self._signatures = self._loaded.signatures
            variables = [variable.numpy() for variable in self._loaded.weights]
            text = self._signatures["text"]
            default = self._signatures.get("serving_default", text)
            self._gives_words = "words" in default.structured_outputs
            self.streaming = None
            if about.stream is not None and "stream" in self._signatures:
                width = self._signatures["stream"].structured_input_signature[1]["state"].shape[1]
                self.streaming = dataclasses.replace(about.stream, state_size=int(width))
            inputs, outputs = dict(text.structured_input_signature[1]), text.structured_outputs
        except Exception as error:  # of damaged files: the loader raises every class of exception
            raise UserError(f"{found}: a damaged SavedModel ({one_line(error)}); export it anew") from None
        expected = {"audio": (tf.float32, 2), "audio_len": (tf.int32, 1)}
        given = {name: (value.dtype, value.shape.rank) for name, value in inputs.items()}
        self._takes_hot_words = given == expected | _HOT_WORDS
        if self._takes_hot_words:
            expected |= _HOT_WORDS
        if given != expected or "text" not in outputs or outputs["text"].dtype != tf.string:
            raise UserError(f"{found}: its signature 'text' is not that of export.py: audio and audio_len to text")
        if not all(np.isfinite(values).all() for values in variables if values.dtype.kind == "f"):
            raise UserError(f"{found}: its weights have NaN or infinite values; export a model with finite weights")

    def recognize_batch(
        self,
        audio: np.ndarray,
        audio_len: np.ndarray,
        words: bool = True,
        decoder: HypothesisDecoder | None = None,
        hot_words: GivenHotWords | None = None,
    ) -> dict[str, np.ndarray]:
        """Recognizes audio [B,S] float32, audio_len [B] int32 -> the outputs of `text_outputs`.

        `decoder` None: the one in the graph. Of a batchable export, whose graph gives no words, it is the same one in
        Python.

        Raises:
            UserError: the SavedModel fails; hot words that the decoder cannot use.
        """
        given = {"audio": tf.constant(audio), "audio_len": tf.constant(audio_len)}
        try:
            if decoder is None and (self._gives_words or not words):
                outputs = self._signatures["serving_default" if words else "text"](
                    **given, **self._hot_words_input(hot_words)
                )
            else:
                outputs = super().recognize_batch(audio, audio_len, words, decoder, hot_words)
            found = {name: np.asarray(value) for name, value in outputs.items()}
            texts = [text.decode("utf-8") for text in found["text"]]
        except (tf.errors.OpError, UnicodeDecodeError, LookupError) as error:
            raise UserError(f"{self._folder}: the SavedModel failed ({one_line(error)})") from None
        if len(texts) != len(audio_len):
            raise UserError(f"{self._folder}: gave {len(texts)} texts for {len(audio_len)} recordings")
        return found

    def _hot_words_input(self, hot_words: GivenHotWords | None) -> dict[str, tf.Tensor]:
        if not self._takes_hot_words:
            if hot_words:
                raise UserError(
                    f"{self._folder}: hot words: this export takes none; export it with decoding.strategy=beam, "
                    "without --batchable"
                )
            return {}
        default = self.decoding_config.beam_settings().hot_word_weight
        hot_words = weigh_hot_words({} if hot_words is None else hot_words, default)
        encode_hot_words(hot_words, self.tokenizer)  # its errors are for people
        return {
            "hot_words": tf.constant(list(hot_words), tf.string),
            "hot_word_weights": tf.constant(list(hot_words.values()), tf.float32),
        }

    def log_probs(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same as `JasperCTC.log_probs`.

        Raises:
            UserError: the SavedModel fails.
        """
        found = self._call("log_probs", audio=audio, audio_len=audio_len)
        return found["log_probs"].numpy(), found["log_probs_len"].numpy()

    frame_scores = log_probs

    def features(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Audio [B,S] float32, audio_len [B] int32 -> features [B,T,F] as the encoder sees them, valid frames [B].

        Raises:
            UserError: the SavedModel fails.
        """
        found = self._call("features", audio=audio, audio_len=audio_len)
        return found["features"].numpy(), found["feature_len"].numpy()

    def compute_stream(self, audio: Any, state: Any, audio_len: Any) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """The same as `JasperCTC.compute_stream`, where `streaming` is not None.

        Raises:
            UserError: the SavedModel fails.
        """
        found = self._call("stream", chunk=audio, chunk_len=audio_len, state=state)
        return found["log_probs"], found["log_probs_len"], found["state"]

    def _call(self, signature: str, **inputs: Any) -> Mapping[str, tf.Tensor]:
        try:
            return self._signatures[signature](**{name: tf.convert_to_tensor(value) for name, value in inputs.items()})
        except (tf.errors.OpError, LookupError) as error:
            raise UserError(f"{self._folder}: the SavedModel failed ({one_line(error)})") from None


@dataclass(frozen=True)
class _About:
    """What `model.json` says.

    `stream` is None for a model that needs whole recordings; its `state_size` is not known before the signature is.
    """

    tokenizer: Tokenizer
    sample_rate: int
    frame_s: float
    decoding: DecodingConfig
    band_hz: list[int]
    stream: StreamSizes | None


def _read_about(folder: Path) -> _About:
    file = folder / EXTRA / "model.json"
    if not file.exists():
        raise UserError(f"{folder}: is a SavedModel, but not one that export.py wrote (no {EXTRA})")
    try:
        about = json.loads(read_bounded(file, _MOST_BYTES))
        labels, sample_rate, frame_s = about["labels"], about["sample_rate"], about["frame_s"]
        decoding = about.get("decoding", {})  # exports before the beam search have none
        of_pieces = about.get("tokenizer")
        band_hz = about.get("band_hz", [])  # like the others, not in older exports
        stream = None if about.get("stream") is None else StreamSizes(state_size=1, **about["stream"])
    except (ValueError, RecursionError, LookupError, TypeError) as error:
        raise UserError(f"{file}: cut off or damaged ({one_line(error)}); export it anew") from None
    if (
        not isinstance(labels, list)
        or not all(isinstance(label, str) for label in labels)
        or type(sample_rate) is not int
        or not 1 <= sample_rate < 2**31
        or type(frame_s) not in (int, float)
        or not 0 < frame_s < math.inf
        or not isinstance(band_hz, list)
        or not all(type(hz) is int for hz in band_hz)
    ):
        raise UserError(f"{file}: labels, sample_rate, frame_s or band_hz are not texts and numbers; export it anew")
    if stream is not None and not stream.fits(max(1, round(frame_s * sample_rate))):
        raise UserError(f"{file}: stream: not the sizes of a stream of frames of {frame_s:g} s; export it anew")
    try:
        tokenizer = tokenizer_from_config(of_pieces) if of_pieces else CharacterTokenizer(labels)
        return _About(tokenizer, sample_rate, frame_s, read_decoding(decoding), band_hz, stream)
    except UserError as error:
        raise UserError(f"{file}: {error}; export it anew") from None
