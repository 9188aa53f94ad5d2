"""Times what is served against the model it was made from: real-time factor, time to load, size on disk.

    python tests/benchmarks/serving.py MODEL... [--rounds 10] [--seconds 5] [--batch 1 16]

MODEL is a run's folder, a model.keras or a .nemo. In every round all candidates compute the same noise, each time
another one first, so that a busy machine slows all alike; printed are the medians of the rounds and the ratios to the
Keras model in process, as tables for README.md.
"""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from jasper_tf.export.saved_model.writer import export
from jasper_tf.inference.load_model import load_model

PARTS = ("variables", "saved_model.pb", "assets.extra")


def seconds_of(work):
    began = time.perf_counter()
    found = work()
    return time.perf_counter() - began, found


def megabytes(path):
    files = [f for f in path.rglob("*") if f.is_file()] or [path]
    return sum(f.stat().st_size for f in files) / 1e6


def factors(model, loaded, batch, seconds, rounds):
    """Median real-time factor of each candidate."""
    noise = np.random.default_rng(0).normal(scale=0.05, size=(batch, int(seconds * model.sample_rate)))
    audio, audio_len = tf.constant(noise, tf.float32), tf.fill([batch], noise.shape[1])
    served = {name: loaded.signatures[name] for name in ("serving_default", "text")}
    candidates = {"Keras model": lambda: model.recognize(audio, audio_len)[0].numpy()}
    for name, call in served.items():
        candidates[name] = lambda call=call: call(audio=audio, audio_len=audio_len)["text"].numpy()
    texts = {name: run().tolist() for name, run in candidates.items()}
    if any(found != texts["Keras model"] for found in texts.values()):
        raise SystemExit(f"error: not the same texts: {texts}")
    spent: dict[str, list[float]] = {name: [] for name in candidates}
    names = list(candidates)
    for k in range(rounds):
        for name in names[k % len(names) :] + names[: k % len(names)]:
            spent[name].append(seconds_of(candidates[name])[0])
    return {name: statistics.median(times) / batch / seconds for name, times in spent.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="+", metavar="MODEL")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=5.0, help="of noise in each row (%(default)g)")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 16])
    arguments = parser.parse_args()
    sizes, speeds = [], []
    for path in arguments.models:
        name = Path(path).name
        model = load_model(path)
        with tempfile.TemporaryDirectory() as folder:
            export_s, version = seconds_of(lambda model=model, folder=folder: export(model, folder))
            loads = [seconds_of(lambda version=version: tf.saved_model.load(str(version))) for _ in range(3)]
            load_s, loaded = statistics.median(load_s for load_s, _ in loads), loads[-1][1]
            parts = " | ".join(f"{megabytes(version / part):.1f}" for part in PARTS)
            sizes.append(f"| {name} | {export_s:.1f} s | {load_s:.1f} s | {megabytes(version):.1f} | {parts} |")
            for batch in arguments.batch:
                found = factors(model, loaded, batch, arguments.seconds, arguments.rounds)
                first = found["Keras model"]
                row = " | ".join(f"{factor:.4f} ({factor / first:.3f})" for factor in found.values())
                speeds.append(f"| {name} | {batch} | {row} |")
    print("| model | export | load | MB | " + " | ".join(PARTS) + " |\n|---|---|---|---|---|---|---|")
    print("\n".join(sizes))
    print(f"\nReal-time factor (against the Keras model), {arguments.seconds:g} s a row, {arguments.rounds} rounds")
    print("\n| model | batch | Keras model | serving_default | text |\n|---|---|---|---|---|")
    print("\n".join(speeds))


if __name__ == "__main__":
    main()
