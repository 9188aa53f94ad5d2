"""Runs a LiteRT model."""

from __future__ import annotations

import os
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from jasper_tf.errors import UserError, one_line

_MOST_THREADS = 4
_STREAM_OUTPUTS = ("log_probs", "log_probs_len", "next_state")


def open_interpreter(model: str | Path | bytes, threads: int = 1) -> Any:
    """ai-edge-litert's interpreter, or else TensorFlow's, which is no longer developed.

    Raises:
        UserError: there is none.
        ValueError: it is no LiteRT model.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        import tensorflow as tf

        if not hasattr(tf.lite, "Interpreter"):
            raise UserError("no runtime for .tflite; pip install ai-edge-litert") from None
        Interpreter = tf.lite.Interpreter  # noqa: N806  # a class
    options: dict[str, Any] = {"model_content": model} if isinstance(model, bytes) else {"model_path": os.fspath(model)}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # TensorFlow's says that it will be deleted
        return Interpreter(num_threads=threads, **options)


def _open(file: str | Path, threads: int | None) -> tuple[Any, list[dict], list[dict]]:
    """Opens a file of export.py: the interpreter, its inputs and its outputs.

    Raises:
        UserError: it is damaged, or there is no runtime.
    """
    try:
        interpreter = open_interpreter(file, threads or min(os.cpu_count() or 1, _MOST_THREADS))
        return interpreter, interpreter.get_input_details(), interpreter.get_output_details()
    except UserError:
        raise
    except (ValueError, RuntimeError) as error:
        raise UserError(f"{file}: not a LiteRT model, or damaged ({one_line(error)}); export it anew") from None


class LiteRTModel:
    """An exported `.tflite`: raw audio to log-probabilities, one recording at a time.

    Args:
        file: the model.
        threads: of one recording. Default: one for each processor, 4 at most.

    Raises:
        UserError: the file is damaged, or not such a model.
    """

    def __init__(self, file: str | Path, threads: int | None = None):
        self._file = file
        self._interpreter, inputs, outputs = _open(file, threads)
        self._samples = -1
        shapes = [len(tensor["shape"]) for tensor in (*inputs, *outputs)]
        kinds = [tensor["dtype"] for tensor in (*inputs, *outputs)]
        if shapes != [2, 3] or kinds != [np.float32, np.float32]:
            raise UserError(f"{file}: not a model of export.py: audio [1,S] to log-probabilities; export it anew")
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.classes = int(outputs[0]["shape"][-1])

    def log_probs(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """See `EdgeModel`.

        Raises:
            UserError: the runtime fails.
        """
        found = [self._run(row[:length]) for row, length in zip(audio, audio_len.tolist(), strict=True)]
        lengths = np.array([len(frames) for frames in found], np.int32)
        log_probs = np.zeros((len(found), lengths.max(initial=0), self.classes), np.float32)
        for row, frames in zip(log_probs, found, strict=True):
            row[: len(frames)] = frames
        return log_probs, lengths

    def _run(self, audio: np.ndarray) -> np.ndarray:
        """Audio [S] -> log-probabilities [T',V+1]."""
        try:
            if len(audio) != self._samples:
                self._samples = -1
                self._interpreter.resize_tensor_input(self._input, [1, len(audio)])
                self._interpreter.allocate_tensors()
                self._samples = len(audio)
            self._interpreter.set_tensor(self._input, audio[None].astype(np.float32, copy=False))
            self._interpreter.invoke()
            return self._interpreter.get_tensor(self._output)[0]
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{self._file}: LiteRT failed on {len(audio)} samples ({one_line(error)})") from None


class LiteRTStream:
    """An exported `.stream.tflite`: steps through one stream; arguments and errors as of `LiteRTModel`."""

    def __init__(self, file: str | Path, threads: int | None = None):
        self._file = file
        self._interpreter, inputs, outputs = _open(file, threads)
        self._inputs = {tensor["name"]: tensor["index"] for tensor in inputs}
        self._outputs = {tensor["name"]: tensor["index"] for tensor in outputs}
        if set(self._inputs) != {"chunk", "chunk_len", "state"} or not set(_STREAM_OUTPUTS) <= set(self._outputs):
            raise UserError(f"{file}: not a model of export.py: chunk, chunk_len and state; export it anew")
        self._samples = -1

    def step(self, chunk: np.ndarray, state: np.ndarray, chunk_len: np.ndarray) -> tuple[np.ndarray, ...]:
        """See `EdgeStream`; the rows of a batch one after the other.

        Raises:
            UserError: the runtime fails.
        """
        rows = [self._run(*row) for row in zip(chunk, state, chunk_len, strict=True)]
        return tuple(np.concatenate(values) for values in zip(*rows, strict=True))

    def _run(self, chunk: np.ndarray, state: np.ndarray, chunk_len: np.ndarray) -> list[np.ndarray]:
        interpreter = self._interpreter
        try:
            if len(chunk) != self._samples:
                self._samples = -1
                interpreter.resize_tensor_input(self._inputs["chunk"], [1, len(chunk)])
                interpreter.allocate_tensors()
                self._samples = len(chunk)
            for name, value in (("chunk", chunk), ("chunk_len", chunk_len), ("state", state)):
                interpreter.set_tensor(self._inputs[name], value[None])
            interpreter.invoke()
            return [interpreter.get_tensor(self._outputs[name]) for name in _STREAM_OUTPUTS]
        except (ValueError, RuntimeError) as error:
            raise UserError(f"{self._file}: LiteRT failed on {len(chunk)} samples ({one_line(error)})") from None
