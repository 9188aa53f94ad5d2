"""What a batch gains: utterances per second and latency of a SavedModel at batches of 1, 2, 4, 8 and 16.

    python -m tests.benchmarks.serving_batches serving/an4 [--seconds 5] [--rounds 10] [--threads 1 2]

Every round computes the same 16 recordings at each size, the sizes taking turns, so that a busy machine slows all; the
medians are printed. With 2 threads two batches are at work at a time, as with num_batch_threads 2 of TensorFlow
Serving. From the table follow the values of configs/serving/batching_parameters.txt: max_batch_size is the smallest
size beyond which utterances/s no longer grow by more than a few percent, allowed_batch_sizes the sizes up to it,
num_batch_threads the threads that gave most, batch_timeout_micros a tenth of the latency at batch 1.
"""

import argparse
import os
import statistics
import sys
import time
from concurrent.futures import ThreadPoolExecutor

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from jasper_tf.export.saved_model.folder import find_saved_model
from jasper_tf.inference.saved_model import SavedModelTranscriber

SIZES = (1, 2, 4, 8, 16)
RECORDINGS = max(SIZES)


def once(text, batches, pool):
    """Seconds of all batches, and of each."""

    def run(batch):
        began = time.perf_counter()
        text(**batch)["text"].numpy()
        return time.perf_counter() - began

    began = time.perf_counter()
    each = list(pool.map(run, batches))
    return time.perf_counter() - began, each


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", help="of a SavedModel, or of its versions")
    parser.add_argument("--seconds", type=float, default=5.0, help="of each recording, noise (%(default)g)")
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2], help="batches at a time (1 2)")
    arguments = parser.parse_args()
    found = find_saved_model(arguments.folder)
    if found is None:
        parser.error(f"{arguments.folder}: holds no SavedModel")
    sample_rate = SavedModelTranscriber(found).sample_rate
    loaded = tf.saved_model.load(str(found))
    text = loaded.signatures["text"]

    shape = (RECORDINGS, round(arguments.seconds * sample_rate))
    audio = np.random.default_rng(0).normal(scale=0.05, size=shape).astype(np.float32)
    batches = {
        size: [
            {"audio": tf.constant(audio[first : first + size]), "audio_len": tf.fill([size], shape[1])}
            for first in range(0, RECORDINGS, size)
        ]
        for size in SIZES
    }
    totals, latencies = ({(t, size): [] for t in arguments.threads for size in SIZES} for _ in range(2))
    pools = {threads: ThreadPoolExecutor(threads) for threads in arguments.threads}
    # The first round is not counted: it pays for each shape's optimization.
    for k in range(arguments.rounds + 1):
        for threads, size in totals:
            all_s, each_s = once(text, batches[size], pools[threads])
            if k:
                totals[threads, size].append(all_s)
                latencies[threads, size] += each_s

    print(f"{found}: {RECORDINGS} recordings of {arguments.seconds:g} s, medians of {arguments.rounds} rounds\n")
    print("| batches at a time | batch | utterances/s | against batch 1 | latency of a batch, ms | real-time factor |")
    print("|---|---|---|---|---|---|")
    for threads, size in totals:
        median = statistics.median(totals[threads, size])
        gain = statistics.median(totals[arguments.threads[0], 1]) / median
        latency_ms = 1000 * statistics.median(latencies[threads, size])
        factor = median / RECORDINGS / arguments.seconds
        print(f"| {threads} | {size} | {RECORDINGS / median:.1f} | {gain:.2f} | {latency_ms:.0f} | {factor:.4f} |")


if __name__ == "__main__":
    sys.exit(main())
