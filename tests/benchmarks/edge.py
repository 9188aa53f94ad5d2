"""Compares exports of a model with the model: size, word error rate, differences, and milliseconds for 5 s of audio.

    python tests/benchmarks/edge.py MODEL MANIFEST litert:none onnx:int8-static ... --calibration TRAIN [--rounds N]
        [--exports FOLDER]

Each candidate is FORMAT:PRECISION, as --format and --quantize of export.py, which writes it here; those of 8 bits are
calibrated on TRAIN, never on MANIFEST. In each round every candidate, and the Keras model as a traced function,
recognizes the same 5 s once: other work on the machine slows all of them. Ratios are Keras's time divided by the
candidate's. The table is Markdown. Speed alone, on a machine that is quiet for a minute: export with `--exports FOLDER
--rounds 0` before, then run with `--exports FOLDER --most-files 0`.
"""

import argparse
import datetime
import os
import platform
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from jasper_tf.export.edge.calibration import read_calibration
from jasper_tf.export.edge.formats import FORMATS, open_model
from jasper_tf.export.edge.verification import verify
from jasper_tf.export.edge.writer import export_edge
from jasper_tf.inference.load_model import load_model
from jasper_tf.io.environment import package_version


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("candidates", nargs="+", metavar="FORMAT:PRECISION")
    parser.add_argument("--calibration", help="of the 8-bit candidates; int8-static needs it")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30, help="of the speed; 0 leaves it out (%(default)s)")
    parser.add_argument("--most-files", type=int, default=200, help="of the manifest, spread evenly (%(default)s)")
    parser.add_argument("--exports", help="folder that keeps the exports; those already there are taken")
    arguments = parser.parse_args()
    if arguments.calibration is None and any(name.endswith(":int8-static") for name in arguments.candidates):
        parser.error("int8-static needs --calibration TRAIN")
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    model = load_model(arguments.model)
    clips = read_calibration(arguments.manifest, model.sample_rate, print)
    samples = 5 * model.sample_rate
    audio = np.concatenate([clip.audio for clip in clips])[None, :samples]
    clips = [clips[n] for n in np.linspace(0, len(clips) - 1, min(arguments.most_files, len(clips))).astype(int)]
    length = np.array([audio.shape[1]], np.int32)
    runs, sizes, export_s, found = {"Keras": model}, {}, {}, {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.candidates:
            kind, quantize = name.split(":")
            output = Path(arguments.exports or folder) / name.replace(":", "-")
            calibration = arguments.calibration if quantize.startswith("int8") else None
            if not output.exists():
                began = time.monotonic()
                export_edge(model, output, kind, quantize, calibration=calibration, say=lambda line: None)
                export_s[name] = f"{time.monotonic() - began:.0f}"
            file = output / FORMATS[kind].file
            runs[name], sizes[name] = open_model(file, arguments.threads), file.stat().st_size / 1e6
            if clips:
                found[name] = verify(model, runs[name], clips)
        times: dict[str, list[float]] = {name: [] for name in runs}
        for number in range(arguments.rounds + 1 if arguments.rounds else 0):
            for name, run in runs.items():
                began = time.perf_counter()
                run.log_probs(audio, length)
                if number:  # the first one prepares
                    times[name].append(time.perf_counter() - began)
    print("| | MB | export, s | WER | texts equal | p99 (max) of difference | ms: min, median | times Keras |")
    print("|---|---|---|---|---|---|---|---|")
    rate = next((_percent(one.keras_wer) for one in found.values()), "")
    print(f"| Keras | | | {rate} | | | {_speed(times, 'Keras')} | |")
    for name, size in sizes.items():
        texts, one = "| | |", found.get(name)
        if one is not None:
            texts = f"| {_percent(one.exported_wer)} | {one.texts_equal} of {one.clips} "
            texts += f"| {one.p99_difference:.1e} ({one.max_difference:.1e})"
        speed = f"{_speed(times, name)} | {_ratio(times, name)}"
        print(f"| {name} | {size:.2f} | {export_s.get(name, '')} {texts} | {speed} |")
    versions = ", ".join(f"{name} {package_version(name)}" for name in ("tensorflow", "ai-edge-litert", "onnxruntime"))
    print(
        f"\n{Path(arguments.model).name}, {arguments.manifest}: {len(clips)} recordings. "
        f"{audio.shape[1] / model.sample_rate:g} s at a time, {arguments.threads} threads, {arguments.rounds} rounds, "
        f"{_processor()}, {os.cpu_count()} processors, {datetime.date.today()}; {versions}."
    )


def _percent(rate: float | None) -> str:
    return "" if rate is None else f"{rate:.2%}"


def _speed(times: dict[str, list[float]], name: str) -> str:
    return f"{min(times[name]) * 1e3:.1f}, {np.median(times[name]) * 1e3:.1f}" if times[name] else ""


def _ratio(times: dict[str, list[float]], name: str) -> str:
    if not times[name]:
        return ""
    return ", ".join(f"{of(times['Keras']) / of(times[name]):.2f}" for of in (min, np.median))


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
