"""Times what is served against the model it was made from: real-time factor, time to load, size on disk.

    python tests/benchmarks/serving.py MODEL [rounds] [seconds]

MODEL is a run's folder, a model.keras or a .nemo. Both take turns, so that a busy machine slows both; printed are the
medians of `rounds` turns on noise of `seconds` seconds, at a batch of 1 and of 16, and their ratio.
"""

import os
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from jasper_tf.jasper_ctc import load_model
from jasper_tf.serving.saved_model import export


def main(path: str, rounds: int, seconds: float) -> None:
    model = load_model(path)
    with tempfile.TemporaryDirectory() as folder:
        begin = time.perf_counter()
        version = export(model, folder)
        print(f"export {time.perf_counter() - begin:.1f} s")
        for part in (".", "variables", "saved_model.pb", "assets.extra"):
            files = [f for f in (version / part).rglob("*") if f.is_file()] or [version / part]
            print(f"  {part:15s} {sum(f.stat().st_size for f in files) / 1e6:8.1f} MB")
        begin = time.perf_counter()
        loaded = tf.saved_model.load(str(version))
        print(f"load {time.perf_counter() - begin:.1f} s")
        served = loaded.signatures["serving_default"]
        text = loaded.signatures["text"]
        for batch in (1, 16):
            noise = np.random.default_rng(0).normal(scale=0.05, size=(batch, int(seconds * model.sample_rate)))
            audio = tf.constant(noise, tf.float32)
            audio_len = tf.fill([batch], audio.shape[1])
            candidates = {
                "Keras model": lambda a=audio, n=audio_len: model.recognise(a, n)[0].numpy(),
                "serving_default": lambda a=audio, n=audio_len: served(audio=a, audio_len=n)["text"].numpy(),
                "text": lambda a=audio, n=audio_len: text(audio=a, audio_len=n)["text"].numpy(),
            }
            for run in candidates.values():
                run()
            spent: dict[str, list[float]] = {name: [] for name in candidates}
            for _ in range(rounds):
                for name, run in candidates.items():
                    begin = time.perf_counter()
                    run()
                    spent[name].append(time.perf_counter() - begin)
            first = statistics.median(spent["Keras model"])
            print(f"batch {batch}, {seconds:g} s each")
            for name, times in spent.items():
                median = statistics.median(times)
                print(
                    f"  {name:15s} real-time factor {median / batch / seconds:.4f}, {median / first:.3f} of the first"
                )


if __name__ == "__main__":
    rounds, seconds = [*sys.argv[2:4], *("10", "5")[len(sys.argv) - 2 :]]
    main(sys.argv[1], int(rounds), float(seconds))
