"""Times CTC, loss and gradient: the project's forward-backward, plain and compiled by XLA, and TensorFlow's sparse op.

    python tests/benchmarks/ctc.py [rounds]

The candidates take turns, so that a busy machine slows all of them; printed are the medians and the largest difference
of the gradients from the first one's.
"""

import os
import statistics
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf

from jasper_tf.losses.ctc import ctc_loss

SHAPES = ((8, 160, 30, 28), (16, 500, 200, 28))  # B, T', U, V


def sparse(labels, label_len, logits, logit_len):
    mask = tf.sequence_mask(label_len, tf.shape(labels)[1])
    where = tf.where(mask)
    values = tf.SparseTensor(where, tf.boolean_mask(labels, mask), tf.shape(labels, out_type=tf.int64))
    return tf.nn.ctc_loss(values, logits, None, logit_len, logits_time_major=False, blank_index=-1)


def with_gradient(loss):
    def run(labels, label_len, logits, logit_len):
        with tf.GradientTape() as tape:
            tape.watch(logits)
            nll = loss(labels, label_len, logits, logit_len)
        return nll, tape.gradient(nll, logits)

    return run


def main(rounds: int) -> None:
    candidates = {
        "own": tf.function(with_gradient(ctc_loss)),
        "own, XLA": tf.function(with_gradient(ctc_loss), jit_compile=True),
        "sparse op": tf.function(with_gradient(sparse)),
    }
    for batch, frames, size, classes in SHAPES:
        random = np.random.default_rng(0)
        logits = tf.constant(random.normal(size=(batch, frames, classes + 1)), tf.float32)
        labels = tf.constant(random.integers(0, classes, (batch, size)), tf.int32)
        label_len = tf.constant(random.integers(size // 2, size + 1, batch), tf.int32)
        logit_len = tf.constant(random.integers(frames * 9 // 10, frames + 1, batch), tf.int32)
        args = (labels, label_len, logits, logit_len)
        results = {name: run(*args) for name, run in candidates.items()}
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for _ in range(rounds):
            for name, run in candidates.items():
                begin = time.perf_counter()
                run(*args)[1].numpy()
                seconds[name].append(time.perf_counter() - begin)
        print(f"B{batch} T{frames} U{size} V{classes}")
        for name, (_, gradient) in results.items():
            difference = np.abs(gradient - results["own"][1]).max()
            print(f"  {name:10s} {1000 * statistics.median(seconds[name]):8.1f} ms   gradient {difference:.1e}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 10)
