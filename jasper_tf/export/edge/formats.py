"""The export formats beside the SavedModel, what each can do, and where its code is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.errors import UserError
from jasper_tf.export.edge.calibration import CalibrationClip
from jasper_tf.export.litert.runtime import LiteRTModel, LiteRTStream
from jasper_tf.export.onnx.runtime import OnnxModel, OnnxStream

if TYPE_CHECKING:
    from jasper_tf.model.jasper_ctc import JasperCTC


class EdgeModel(Protocol):
    """An exported model in its runtime."""

    def log_probs(self, audio: np.ndarray, audio_len: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Audio [B,S] float32, audio_len [B] int32 -> log-probabilities [B,T',V+1] float32, valid frames [B] int32.

        Beyond an utterance's valid frames the values have no meaning.

        Raises:
            UserError: the runtime fails.
        """


class EdgeStream(Protocol):
    """An exported model for live audio in its runtime; it keeps nothing between the calls."""

    def step(self, chunk: np.ndarray, state: np.ndarray, chunk_len: np.ndarray) -> tuple[np.ndarray, ...]:
        """As `StreamingModel.step`: [B,S], [B,N], [B] -> log-probabilities [B,T',V+1], valid frames [B], state [B,N].

        Raises:
            UserError: the runtime fails.
        """


@dataclass(frozen=True)
class EdgeFormat:
    """What a format can do.

    Attributes:
        name: of `--format`.
        file: the model, the file that `open_model` takes.
        quantize: the values of `--quantize`; the first is the default.
        targets: the values of `--target`.
        stream_file: of a model that can stream also its steps, the file that `open_stream` takes; empty for none.
    """

    name: str
    file: str
    quantize: tuple[str, ...] = ("none",)
    targets: tuple[str, ...] = ()
    stream_file: str = ""


@dataclass(frozen=True)
class EdgeJob:
    """An export.

    Attributes:
        model: the recognizer.
        format: what is written.
        quantize: one of the format's.
        targets: some of the format's.
        calibration: recordings, for ranges of activations and for the verification; synthesized ones have no text.
        say: takes a line for the user.
        decoding: how the export's texts are made here. Default: as the model.
        onnxruntime_web: an archive, see `read_onnxruntime_web`.
    """

    model: JasperCTC
    format: EdgeFormat
    quantize: str
    targets: tuple[str, ...]
    calibration: list[CalibrationClip]
    say: Callable[[str], None]
    decoding: DecodingConfig | None = None
    onnxruntime_web: str | None = None

    @property
    def recordings(self) -> list[CalibrationClip]:
        """The user's calibration recordings, without synthesized ones."""
        return [clip for clip in self.calibration if clip.text is not None]


PRECISIONS = ("none", "float16", "int8-dynamic", "int8-static")

FORMATS = {
    one.name: one
    for one in (
        EdgeFormat("litert", "model.tflite", PRECISIONS, stream_file="model.stream.tflite"),
        EdgeFormat("onnx", "model.onnx", PRECISIONS, ("sherpa-nemo", "sherpa-raw"), "model.stream.onnx"),
        EdgeFormat("web", "model.onnx", ("none", "float16", "int8-static")),
    )
}


def find_writer(name: str) -> Callable[[EdgeJob, Path], None]:
    """Returns the function that writes the files of a format, `EdgeFormat.file` among them, into an empty folder.

    Raises:
        UserError: the format needs a package that is not installed.
    """
    # Each format's packages are loaded for that format only.
    if name == "litert":
        from jasper_tf.export.litert.writer import write_litert

        return write_litert
    if missing := [package for package in ("onnx", "onnxruntime") if find_spec(package) is None]:
        raise UserError(f"--format {name}: needs {' and '.join(missing)}; pip install 'jasper-tf[onnx]'")
    if name == "web":
        from jasper_tf.export.web.writer import write_web

        return write_web
    from jasper_tf.export.onnx.writer import write_onnx

    return write_onnx


def open_model(file: Path, threads: int | None = None) -> EdgeModel:
    """Loads an exported model by the suffix of its file.

    Args:
        file: `.tflite` or `.onnx`.
        threads: of the runtime, for one recording. Default: the format's.

    Raises:
        UserError: the suffix is unknown; the file is damaged, or its runtime is not installed.
    """
    if file.suffix == ".tflite":
        return LiteRTModel(file, threads)
    if file.suffix == ".onnx":
        return OnnxModel(file, threads)
    raise UserError(f"{file}: no model that this version can run; give a .tflite or .onnx written by export.py")


def open_stream(file: Path, threads: int | None = None) -> EdgeStream:
    """Loads the steps of an exported model, as `open_model` does the model."""
    if file.suffix == ".tflite":
        return LiteRTStream(file, threads)
    return OnnxStream(file, threads)
