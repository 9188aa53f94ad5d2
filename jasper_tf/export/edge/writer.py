"""Exports a recognizer for devices, runtimes and browsers: the model, what it needs, and how close it is."""

from __future__ import annotations

import dataclasses
import math
import sys
from collections.abc import Callable
from pathlib import Path

from jasper_tf import __version__
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.errors import DataError
from jasper_tf.export.edge.calibration import read_calibration, synthesize_calibration
from jasper_tf.export.edge.formats import FORMATS, EdgeJob, find_writer, open_model, open_stream
from jasper_tf.export.edge.model_info import MODEL_INFO, ModelInfo, StreamInfo
from jasper_tf.export.edge.output_folder import replace_folder
from jasper_tf.export.edge.verification import verify, verify_stream
from jasper_tf.io.environment import git_revision, package_version
from jasper_tf.model.jasper_ctc import JasperCTC

LABELS = "labels.txt"

_PACKAGES = ("tensorflow", "keras", "ai-edge-litert", "onnx", "onnxruntime")
_MOST_VERIFIED_S = 600.0
"""Seconds of audio that both models recognize, spread over the calibration."""
_MOST_DIFFERENCE = 0.1
"""99 % of the log-probabilities of a float32 export differ by less, mostly by 1e-5.

Normalization amplifies the rounding of bands without energy, as in telephone audio at 16 kHz: there it is 0.01.
"""
_MOST_STEP_DIFFERENCE = 1e-4
"""The same, between steps and whole recordings in the same runtime: both compute the same sums."""


def export_edge(
    model: JasperCTC,
    output: str | Path,
    format: str,
    quantize: str = "none",
    targets: tuple[str, ...] = (),
    calibration: str | None = None,
    decoding: DecodingConfig | None = None,
    config_yaml: str | None = None,
    overwrite: bool = False,
    say: Callable[[str], None] = lambda line: print(line, file=sys.stderr),
    onnxruntime_web: str | None = None,
) -> Path:
    """Writes the folder of an export: complete, or not at all.

        model.tflite, model.onnx    raw audio to log-probabilities
        model.stream.tflite, .onnx  the steps of a model that can stream
        model.json                  see `ModelInfo`
        labels.txt                  what each of the V labels writes, one per line; the blank is class V
        config.yaml                 as given; a page has none
        index.html, ...             a web page, see `write_web`

    The lines of labels.txt are `Tokenizer.pieces`: a word piece that starts a word begins with a space, and a line may
    be empty. The lines of the best path, repeats and blanks removed, joined and stripped, are the text.

    Args:
        model: a trained recognizer.
        output: the folder. It does not exist, is empty, or holds an earlier export.
        format: a key of `FORMATS`.
        quantize, targets: of `FORMATS[format]`.
        calibration: a manifest of recordings like those that the model will hear: for ranges of activations, and for
            the verification. Default: noise and tones, for the verification only.
        decoding: how the export's texts are made here. Default: as the model.
        config_yaml: the run's configuration.
        overwrite: whether an earlier export may be replaced.
        say: takes the lines of the verification.
        onnxruntime_web: an archive, see `read_onnxruntime_web`.

    Returns:
        The folder.

    Raises:
        UserError: the folder, the manifest or the model cannot be used; a package is missing.
        DataError: the exported model is not the model.
    """
    known, write = FORMATS[format], find_writer(format)
    clips = read_calibration(calibration, model.sample_rate, say, model.framing.min_samples) if calibration else []
    clips = clips or synthesize_calibration(model.sample_rate)
    with replace_folder(output, overwrite) as folder:
        write(EdgeJob(model, known, quantize, targets, clips, say, decoding, onnxruntime_web), folder)
        exported = open_model(folder / known.file)
        seconds = sum(len(clip.audio) for clip in clips) / model.sample_rate
        clips = clips[:: max(1, math.ceil(seconds / _MOST_VERIFIED_S))]
        found = verify(model, exported, clips)
        say(str(found))
        if quantize == "none" and found.p99_difference > _MOST_DIFFERENCE:
            raise DataError(
                f"the exported model differs from the Keras model by {found.p99_difference:.1e}; report it with its "
                "configuration"
            )
        verification, stream = found.to_dict(), None
        if known.stream_file and (folder / known.stream_file).exists():
            stream = StreamInfo(file=known.stream_file, **dataclasses.asdict(model.streaming.sizes))
            steps = verify_stream(exported, open_stream(folder / known.stream_file), stream, clips)
            say(str(steps))
            if quantize in ("none", "float16") and steps.p99_difference > _MOST_STEP_DIFFERENCE:
                raise DataError(f"live audio differs by {steps.p99_difference:.1e}; report it with the configuration")
            verification["stream"] = steps.to_dict()
        (folder / LABELS).write_text("".join(f"{label}\n" for label in model.tokenizer.pieces), encoding="utf-8")
        # A configuration and settings of a beam name files of this machine, and a page, which is greedy, is published.
        if format == "web":
            decoding = DecodingConfig()
        elif config_yaml is not None:
            (folder / "config.yaml").write_text(config_yaml, encoding="utf-8")
        versions = {name: package_version(name) for name in _PACKAGES}
        info = ModelInfo(
            format=format,
            file=known.file,
            quantization=quantize,
            sample_rate=model.sample_rate,
            tokenizer=model.tokenizer,
            min_samples=model.framing.min_samples,
            frame_stride_samples=model.hop * model.encoder.subsampling_factor,
            decoding=model.decoding_config if decoding is None else decoding,
            files=tuple(sorted([MODEL_INFO, *(file.name for file in folder.iterdir())])),
            stream=stream,
            verification=verification,
            versions={"jasper_tf": __version__, "git_revision": git_revision(), **versions},
        )
        (folder / MODEL_INFO).write_text(info.to_json(), encoding="utf-8")
    return Path(output)
