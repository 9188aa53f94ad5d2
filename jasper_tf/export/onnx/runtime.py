"""Runs an exported ONNX model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from jasper_tf.errors import UserError, one_line

_INPUTS = {"audio": ("tensor(float)", 2), "audio_len": ("tensor(int32)", 1)}
_OUTPUTS = {"log_probs": ("tensor(float)", 3), "log_probs_len": ("tensor(int32)", 1)}


class OnnxModel:
    """An exported `.onnx`: padded batches of raw audio to log-probabilities.

    Args:
        file: the model.
        threads: of one batch. Default 1: ONNX Runtime's threads wait for each other by spinning, and two are slower
            than one where other work shares the processors.

    Raises:
        UserError: the file is damaged, or not such a model; onnxruntime is not installed.
    """

    def __init__(self, file: str | Path, threads: int | None = None):
        try:
            import onnxruntime  # an extra of the package
        except ImportError:
            raise UserError(f"{file}: needs onnxruntime; pip install 'jasper-tf[onnx]'") from None
        self._file = file
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads or 1, 1
        options.log_severity_level = 4  # its errors become ours
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of damaged files: its classes have no common base
            raise UserError(f"{file}: not an ONNX model, or damaged ({one_line(error)}); export it anew") from None
        for values, expected in (
            (self._session.get_inputs(), _INPUTS),
            (self._session.get_outputs(), _OUTPUTS),
        ):
            if {value.name: (value.type, len(value.shape)) for value in values} != expected:
                raise UserError(f"{file}: not a model of export.py: {', '.join(_INPUTS)} to log_probs; export it anew")

    def log_probs(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `EdgeModel`.

        Raises:
            UserError: the runtime fails.
        """
        given = {"audio": audio.astype(np.float32, copy=False), "audio_len": audio_len.astype(np.int32, copy=False)}
        try:
            log_probs, lengths = self._session.run(list(_OUTPUTS), given)
        except Exception as error:  # as above
            raise UserError(f"{self._file}: ONNX Runtime failed ({one_line(error)})") from None
        return log_probs, lengths
