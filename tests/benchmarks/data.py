"""How fast the data comes: soundfile alone, files to padded batches, shards to padded batches, and what a step takes.

    python tests/benchmarks/data.py [--rounds 5] [--utterances 400]
    python tests/benchmarks/data.py --lines 10000000    # opens and begins a manifest of that many lines

Measured is the rate of a pipeline that runs, over two epochs. The candidates take turns, so that a busy machine slows
all of them; printed are the medians, in seconds of audio per second, and the ratios to soundfile. The corpus is
colored noise, harder for FLAC than speech.
"""

import argparse
import json
import os
import resource
import statistics
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import soundfile

RATE, SECONDS = 16000, 12.0


def write_corpus(folder: Path, utterances: int) -> Path:
    random = np.random.default_rng(0)
    with open(folder / "manifest.jsonl", "w") as file:
        for number in range(utterances):
            audio = np.cumsum(random.normal(0, 0.02, round(SECONDS * RATE)))
            audio -= np.convolve(audio, np.ones(400) / 400, "same")
            soundfile.write(folder / f"{number}.flac", audio.clip(-1, 1), RATE)
            line = {"audio_filepath": f"{number}.flac", "duration": SECONDS, "text": "a b c"}
            file.write(json.dumps(line) + "\n")
    return folder / "manifest.jsonl"


def throughput(rounds: int, utterances: int) -> None:
    import tensorflow as tf

    from jasper_tf.config import load_config
    from jasper_tf.data.batches.pipeline import SpeechBatches
    from jasper_tf.data.manifest.columns import read_manifest
    from jasper_tf.model.jasper_ctc import build_model
    from jasper_tf.text.tokenizer import CharacterTokenizer
    from jasper_tf.training.trainer import compile_model

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_corpus(folder, utterances)
        shards = {}
        for codec in ("pcm", "flac"):
            shard(manifest, folder / codec, codec)
            shards[codec] = folder / codec
        files = [str(folder / f"{number}.flac") for number in range(utterances)]

        def soundfile_alone() -> float:
            began = time.perf_counter()
            with ThreadPoolExecutor(2) as pool:
                for audio in pool.map(lambda path: soundfile.read(path, dtype="float32")[0], 2 * files):
                    assert len(audio)
            return time.perf_counter() - began

        @tf.function
        def take(stream, steps):  # in a graph, as training takes them
            rows = 0
            for _ in tf.range(steps):
                rows += tf.shape(next(stream)[0]["audio"])[0]
            return rows

        def batches_of(path):
            batches = SpeechBatches(
                read_manifest(str(path)), CharacterTokenizer(list(" abc")), batch_size=16, shuffle=True, buckets=1
            )

            def run() -> float:
                stream = iter(batches.distributed(tf.distribute.get_strategy(), endless=True))
                next(stream)  # building the pipeline is no part of its rate
                began = time.perf_counter()
                assert take(stream, tf.constant(2 * batches.steps_per_epoch)) > 0
                return time.perf_counter() - began

            return run

        candidates = {
            "soundfile, 2 threads": soundfile_alone,
            "FLAC files to batches": batches_of(manifest),
            "PCM shards to batches": batches_of(shards["pcm"]),
            "FLAC shards to batches": batches_of(shards["flac"]),
        }
        seconds: dict[str, list[float]] = {name: [] for name in candidates}
        for number in range(rounds + 1):
            for name, run in candidates.items():
                took = run()
                time.sleep(0.5)  # what its threads had begun for later steps ends
                if number:  # the first round warms the caches
                    seconds[name].append(took)
        medians = {name: statistics.median(values) for name, values in seconds.items()}
        for name, median in medians.items():
            ratio = medians["soundfile, 2 threads"] / median
            print(f"{name:24s} {2 * utterances * SECONDS / median:8.0f} x real time   {ratio:5.2f} of soundfile")
        ratio = medians["FLAC files to batches"] / medians["PCM shards to batches"]
        print(f"PCM shards come {ratio:.2f} times as fast as FLAC files")

    cfg = load_config(Path(__file__).parents[2] / "configs" / "an4.yaml", ["model.train_ds.manifest_filepath=none"])
    model = build_model(cfg)
    compile_model(model, cfg, 100_000)
    x = {"audio": tf.random.normal([16, round(SECONDS * RATE)]), "audio_len": tf.fill([16], round(SECONDS * RATE))}
    y = {"labels": tf.ones([16, 40], tf.int32), "label_len": tf.fill([16], 40)}
    model.train_on_batch(x, y)
    took = []
    for _ in range(rounds):
        began = time.perf_counter()
        model.train_on_batch(x, y)
        took.append(time.perf_counter() - began)
    print(f"{'a step of configs/an4':24s} {16 * SECONDS / statistics.median(took):8.0f} x real time")


def shard(manifest: Path, folder: Path, codec: str) -> None:
    import subprocess

    command = [sys.executable, "-m", "jasper_tf", "shard", "--manifest", manifest, "--output", folder, "--codec", codec]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def many_lines(lines: int) -> None:
    from jasper_tf.data.batches.pipeline import SpeechBatches
    from jasper_tf.data.manifest.columns import read_manifest
    from jasper_tf.data.manifest.filter import select
    from jasper_tf.text.tokenizer import CharacterTokenizer

    random = np.random.default_rng(0)
    words = "the of and to a in that he was it his is with as i had for at by on not be from but".split()
    block = []
    for _ in range(10_000):
        duration = round(float(random.uniform(1.5, 16)), 3)
        text = " ".join(random.choice(words, round(2.7 * duration)))
        block.append(json.dumps({"audio_filepath": "a.wav", "duration": duration, "text": text}) + "\n")
    with tempfile.TemporaryDirectory() as name:
        soundfile.write(Path(name) / "a.wav", np.zeros(16 * RATE, np.int16), RATE)
        path = Path(name) / "manifest.jsonl"
        with open(path, "w") as file:
            for _ in range(lines // len(block)):
                file.writelines(block)
        print(f"{lines} lines, {path.stat().st_size / 1e9:.2f} GB")
        began = time.perf_counter()
        vocabulary = CharacterTokenizer(list(" abcdefghijklmnopqrstuvwxyz'"))
        chosen = select(read_manifest(str(path)), vocabulary, max_duration_s=16.7)
        opened = time.perf_counter()
        batches = SpeechBatches(chosen.utterances, vocabulary, batch_size=32, shuffle=True, buckets=8)
        batches.epoch, batches.first_step = 3, batches.steps_per_epoch // 2
        x, _ = next(iter(batches.dataset()))
        first = time.perf_counter()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        print(f"opened in {opened - began:.1f} s; the first batch of epoch 3's middle {first - opened:.1f} s later")
        print(f"most memory {peak:.2f} GiB; batch {tuple(x['audio'].shape)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--utterances", type=int, default=400)
    parser.add_argument("--lines", type=int)
    arguments = parser.parse_args()
    if arguments.lines:
        many_lines(arguments.lines)
    else:
        throughput(arguments.rounds, arguments.utterances)
