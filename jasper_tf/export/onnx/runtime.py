"""Runs an exported ONNX model."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from jasper_tf.errors import UserError, one_line

_INPUTS = {"audio": ("tensor(float)", 2), "audio_len": ("tensor(int32)", 1)}
_OUTPUTS = {"log_probs": ("tensor(float)", 3), "log_probs_len": ("tensor(int32)", 1)}
_STREAM_INPUTS = {"chunk": ("tensor(float)", 2), "chunk_len": ("tensor(int32)", 1), "state": ("tensor(float)", 2)}
_STREAM_OUTPUTS = {**_OUTPUTS, "next_state": ("tensor(float)", 2)}

Values = dict[str, tuple[str, int]]


class _Session:
    """A session of ONNX Runtime; arguments and errors as of `OnnxModel`.

    Args:
        inputs, outputs: what the model must have: types and numbers of axes by name.
    """

    def __init__(self, file: str | Path, threads: int | None, inputs: Values, outputs: Values):
        try:
            import onnxruntime  # an extra of the package
        except ImportError:
            raise UserError(f"{file}: needs onnxruntime; pip install 'jasper-tf[onnx]'") from None
        self._file, self._outputs = file, list(outputs)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = threads or 1, 1
        options.log_severity_level = 4  # its errors become ours
        try:
            self._session = onnxruntime.InferenceSession(os.fspath(file), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # of damaged files: its classes have no common base
            raise UserError(f"{file}: not an ONNX model, or damaged ({one_line(error)}); export it anew") from None
        for values, expected in ((self._session.get_inputs(), inputs), (self._session.get_outputs(), outputs)):
            if {value.name: (value.type, len(value.shape)) for value in values} != expected:
                raise UserError(f"{file}: not a model of export.py: {', '.join(inputs)} to log_probs; export it anew")

    def run(self, **given: np.ndarray) -> list[np.ndarray]:
        try:
            return self._session.run(self._outputs, given)
        except Exception as error:  # as above
            raise UserError(f"{self._file}: ONNX Runtime failed ({one_line(error)})") from None


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
        self._session = _Session(file, threads, _INPUTS, _OUTPUTS)

    def log_probs(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `EdgeModel`.

        Raises:
            UserError: the runtime fails.
        """
        audio, audio_len = audio.astype(np.float32, copy=False), audio_len.astype(np.int32, copy=False)
        log_probs, lengths = self._session.run(audio=audio, audio_len=audio_len)
        return log_probs, lengths


class OnnxStream:
    """An exported `.stream.onnx`; arguments and errors as of `OnnxModel`."""

    def __init__(self, file: str | Path, threads: int | None = None):
        self._session = _Session(file, threads, _STREAM_INPUTS, _STREAM_OUTPUTS)

    def step(self, chunk: np.ndarray, state: np.ndarray, chunk_len: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `EdgeStream`.

        Raises:
            UserError: the runtime fails.
        """
        return tuple(self._session.run(chunk=chunk, chunk_len=chunk_len, state=state))
