"""Compares exports of a model with the model: size, differences, word error rate, and milliseconds for 5 s of audio.

    python tests/benchmarks/edge.py MODEL MANIFEST litert:none litert:int8-dynamic [--calibration M] [--threads N]

Each candidate is FORMAT:PRECISION, as --format and --quantize of export.py, which writes it here. In each round every
candidate, and the Keras model as a traced function, recognizes the same 5 s once: other work on the machine slows all
of them. Ratios are Keras's time divided by the candidate's.
"""

import argparse
import os
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


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    parser.add_argument("manifest")
    parser.add_argument("candidates", nargs="+", metavar="FORMAT:PRECISION")
    parser.add_argument("--calibration", help="of the 8-bit candidates (default: MANIFEST for int8-static)")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    arguments = parser.parse_args()
    tf.config.threading.set_intra_op_parallelism_threads(arguments.threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    model = load_model(arguments.model)
    clips = read_calibration(arguments.manifest, model.sample_rate, print)
    samples = 5 * model.sample_rate
    audio = np.concatenate([clip.audio for clip in clips])[None, :samples]
    length = np.array([samples], np.int32)
    runs, rows = {"keras": model}, []
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.candidates:
            kind, quantize = name.split(":")
            output = Path(folder) / name.replace(":", "-")
            needed = arguments.manifest if quantize == "int8-static" else None
            calibration = (arguments.calibration or needed) if quantize.startswith("int8") else None
            began = time.monotonic()
            export_edge(model, output, kind, quantize, calibration=calibration, say=lambda line: None)
            export_s = time.monotonic() - began
            file = output / FORMATS[kind].file
            runs[name] = open_model(file, arguments.threads)
            rows.append((name, file.stat().st_size / 1e6, export_s, verify(model, runs[name], clips)))
        times: dict[str, list[float]] = {name: [] for name in runs}
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                began = time.perf_counter()
                run.log_probs(audio, length)
                times[name].append(time.perf_counter() - began)
    fastest, middle = ({name: f(of) * 1e3 for name, of in times.items()} for f in (min, np.median))
    print(f"{arguments.threads} threads, {arguments.rounds} rounds; Keras {rows[0][3].keras_wer:.2%} WER")
    print("candidate            MB  export s     WER   texts  |d| max   p99      min ms  median  x Keras (min, median)")
    print(f"{'keras':50}{'':20}{fastest['keras']:9.2f} {middle['keras']:7.2f}")
    for name, size, export_s, found in rows:
        print(
            f"{name:20} {size:5.2f} {export_s:7.1f} {found.exported_wer:7.2%} {found.texts_equal:4}/{found.clips:<4}"
            f"{found.max_difference:8.1e} {found.p99_difference:8.1e}{fastest[name]:9.2f} {middle[name]:7.2f}"
            f"{fastest['keras'] / fastest[name]:8.2f} {middle['keras'] / middle[name]:6.2f}"
        )


if __name__ == "__main__":
    main()
