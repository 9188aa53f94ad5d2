"""`model.json`: what a program must know to use the exported model beside it."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jasper_tf.config.decoding_overrides import read_decoding
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.errors import UserError, one_line
from jasper_tf.io.bounded_file import read_bounded
from jasper_tf.model.streaming.stream_sizes import StreamSizes
from jasper_tf.text.tokenizer import Tokenizer, tokenizer_from_config

MODEL_INFO = "model.json"
FORMAT_VERSION = 1

_MOST_BYTES = 1 << 24


@dataclass(frozen=True, kw_only=True)
class StreamInfo(StreamSizes):
    """The steps of a model that can stream.

    Attributes:
        file: the steps.
    """

    file: str


@dataclass(frozen=True)
class ModelInfo:
    """The content of `model.json`.

    Attributes:
        format: "litert", "onnx" or "web".
        file: the model.
        quantization: "none", "float16", "int8-dynamic" or "int8-static".
        sample_rate: of the audio, Hz.
        tokenizer: V labels; class V is the blank.
        min_samples: fewest samples that the model takes; a shorter recording needs zeros behind it.
        frame_stride_samples: samples from one frame of the log-probabilities to the next.
        decoding: how the model's own texts are made.
        stream: None for a model that needs whole recordings.
        files: names of all files of the export.
        verification: see `Verification`; with `stream` also what `StreamVerification` has, under that key.
        versions: of the packages that wrote it.
    """

    format: str
    file: str
    quantization: str
    sample_rate: int
    tokenizer: Tokenizer
    min_samples: int
    frame_stride_samples: int
    decoding: DecodingConfig
    stream: StreamInfo | None = None
    files: tuple[str, ...] = ()
    verification: dict[str, Any] = field(default_factory=dict)
    versions: dict[str, str | None] = field(default_factory=dict)

    @property
    def frame_s(self) -> float:
        """Seconds from one frame of the log-probabilities to the next."""
        return self.frame_stride_samples / self.sample_rate

    def to_json(self) -> str:
        """The text of `model.json`.

        Beside the attributes: `labels`, the lines of labels.txt, and `first_labels`, what a label writes where no label
        before it has written anything: mostly the same without the space.
        """
        about = {
            "format_version": FORMAT_VERSION,
            "format": self.format,
            "file": self.file,
            "quantization": self.quantization,
            "sample_rate": self.sample_rate,
            "labels": list(self.tokenizer.pieces),
            "first_labels": [self.tokenizer.decode([label]) for label in range(len(self.tokenizer))],
            "blank": len(self.tokenizer),
            "tokenizer": self.tokenizer.get_config(),
            "min_samples": self.min_samples,
            "frame_stride_samples": self.frame_stride_samples,
            "frame_s": self.frame_s,
            "decoding": dataclasses.asdict(self.decoding),
            "stream": None if self.stream is None else dataclasses.asdict(self.stream),
            "files": list(self.files),
            "verification": self.verification,
            "versions": self.versions,
        }
        return json.dumps(about, ensure_ascii=False, indent=1) + "\n"


def read_model_info(file: str | Path) -> ModelInfo:
    """Reads `model.json`.

    Raises:
        UserError: it is missing, damaged, not written by export.py, or of a newer version.
    """
    try:
        about = json.loads(read_bounded(file, _MOST_BYTES))
        version = about["format_version"]
        if version != FORMAT_VERSION:
            raise UserError(f"format_version {version}: this version reads {FORMAT_VERSION}; update jasper-tf")
        info = ModelInfo(
            format=about["format"],
            file=about["file"],
            quantization=about["quantization"],
            sample_rate=about["sample_rate"],
            tokenizer=tokenizer_from_config(about["tokenizer"]),
            min_samples=about["min_samples"],
            frame_stride_samples=about["frame_stride_samples"],
            decoding=read_decoding(about["decoding"]),
            stream=None if about.get("stream") is None else StreamInfo(**about["stream"]),
            files=tuple(about["files"]),
            verification=about["verification"],
            versions=about["versions"],
        )
    except UserError as error:
        raise UserError(f"{file}: {str(error).removeprefix(f'{file}: ')}") from None
    except (ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise UserError(f"{file}: not of an exported model, or damaged ({one_line(error)}); export it anew") from None
    sizes = {key: getattr(info, key) for key in ("sample_rate", "min_samples", "frame_stride_samples")}
    for key, value in sizes.items():
        if type(value) is not int or not 1 <= value < 2**24:
            raise UserError(f"{file}: {key}: {one_line(repr(value))} is not a whole number above 0; export it anew")
    stream, frame = info.stream, info.frame_stride_samples
    if stream is not None and not stream.fits(frame):
        raise UserError(f"{file}: stream: sizes are not those of frames of {frame} samples; export it anew")
    for name in (info.file, *info.files, *([] if stream is None else [stream.file])):
        # Names of this folder only: whoever replaces an export removes them.
        if not isinstance(name, str) or Path(name).name != name or name in (".", ".."):
            raise UserError(f"{file}: files: {one_line(repr(name))} is not the name of a file; export it anew")
    if not math.isfinite(info.frame_s) or not all(isinstance(text, str) for text in (info.format, info.quantization)):
        raise UserError(f"{file}: format and quantization are not texts; export it anew")
    return info
