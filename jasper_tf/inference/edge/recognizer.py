"""Transcribes with an exported LiteRT or ONNX model."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import numpy as np

from jasper_tf.audio.pad_audio import pad_audio
from jasper_tf.decoding.build_array_decoder import build_array_decoder
from jasper_tf.decoding.hypothesis_decoder import HypothesisDecoder
from jasper_tf.errors import UserError
from jasper_tf.export.edge.formats import EdgeStream, open_model, open_stream
from jasper_tf.export.edge.model_info import MODEL_INFO, read_model_info
from jasper_tf.inference.model_path import find_edge_model
from jasper_tf.model.transcribing_model import TranscribingModel


class EdgeRecognizer(TranscribingModel):
    """An exported edge model with the `recognize_batch`, `log_probs` and `transcribe` of a JasperCTC.

    Decoders are those of this package: the file gives log-probabilities.

    Args:
        path: `model.tflite`, `model.onnx` or the folder of the export; `model.json` is beside it.
        threads: of the runtime. Default: see the runtime of the format.

    Attributes:
        streaming: sizes of its steps on live audio, as `JasperCTC.streaming` has them; None: it needs whole recordings.

    Raises:
        UserError: there is no export, a file of it is damaged, or its runtime is not installed.
    """

    def __init__(self, path: str | Path, threads: int | None = None):
        file = find_edge_model(path)
        if file is None:
            raise UserError(f"{path}: holds no exported model; write one with export.py --format litert")
        self.info = read_model_info(file.with_name(MODEL_INFO))
        self.streaming, self._threads = self.info.stream, threads
        if self.streaming is not None and file.name == self.streaming.file:
            file = file.with_name(self.info.file)
        self.tokenizer, self.sample_rate, self.frame_s = self.info.tokenizer, self.info.sample_rate, self.info.frame_s
        self.decoding_config = self.info.decoding
        self._file, self._model = file, open_model(file, threads)

    @functools.cached_property
    def decoding(self) -> HypothesisDecoder:  # type: ignore[override]  # built at its first use
        """The decoder of `decoding_config`.

        Raises:
            UserError: as `build_decoder`.
        """
        return build_array_decoder(self.decoding_config, self.tokenizer)

    def log_probs(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The same as `JasperCTC.log_probs`.

        Raises:
            UserError: the runtime fails.
        """
        if np.min(audio_len, initial=self.info.min_samples) < self.info.min_samples:
            audio, audio_len = pad_audio([self._long_enough(row[:n]) for row, n in zip(audio, audio_len, strict=True)])
        log_probs, lengths = self._model.log_probs(audio, audio_len)
        if log_probs.shape[2] != len(self.tokenizer) + 1:
            raise UserError(
                f"{self._file}: gives {log_probs.shape[2]} classes, but {MODEL_INFO} has {len(self.tokenizer)} labels; "
                "the two files are of different exports"
            )
        return log_probs, lengths

    frame_scores = log_probs

    def compute_stream(self, audio: Any, state: Any, audio_len: Any) -> tuple[np.ndarray, ...]:
        """The same as `JasperCTC.compute_stream`, where `streaming` is not None.

        Raises:
            UserError: the runtime fails; the file of the steps is missing or damaged.
        """
        return self._stream.step(audio, state, audio_len)

    @functools.cached_property
    def _stream(self) -> EdgeStream:
        if self.streaming is None:
            raise UserError(f"{self._file}: this model needs whole recordings")
        return open_stream(self._file.with_name(self.streaming.file), self._threads)

    def _long_enough(self, audio: np.ndarray) -> np.ndarray:
        return np.pad(audio, (0, max(0, self.info.min_samples - len(audio))))
