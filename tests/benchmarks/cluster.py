"""What grows with the machines of a cluster: reading, and the exchange of gradients, apart from computing them.

    python tests/benchmarks/cluster.py readers
    python tests/benchmarks/cluster.py gradients

`readers`: 1, 2 and 4 processes read their own share of shards into padded batches, each on one core. `gradients`: 2
and 4 processes on loopback sum tensors of the shapes of a model's gradients, as a training step does; bytes are what
the loopback device counted. The processes begin together; TensorFlow's import is no part of any number.
"""

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

ROOT = Path(__file__).parents[2]
MODELS = ("an4", "quartznet")


def read(task: dict) -> Callable[[], dict]:
    os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[task["index"] % task["cores"]]})

    import numpy as np
    import tensorflow as tf

    from jasper_tf.data.batches.pipeline import SpeechBatches
    from jasper_tf.data.manifest.columns import read_manifest
    from jasper_tf.text.tokenizer import CharacterTokenizer

    utterances = read_manifest(f"{task['shards']}/manifest.jsonl")
    share = [utterances[i] for i in range(task["index"], len(utterances), task["count"])]
    letters = CharacterTokenizer(list(" abcdefghijklmnopqrstuvwxyz"))
    batches = SpeechBatches(share, letters, batch_size=16, shuffle=True, buckets=1)
    stream = iter(batches.distributed(tf.distribute.get_strategy(), endless=True))
    for _ in range(20):
        next(stream)

    def run() -> dict:
        began, seconds = time.perf_counter(), 0.0
        while (took := time.perf_counter() - began) < task["seconds"]:
            seconds += float(np.sum(next(stream)[0]["audio_len"])) / 16000
        return {"rate": seconds / took}

    return run


def exchange(task: dict) -> Callable[[], dict]:
    import tensorflow as tf

    workers = {"worker": [f"127.0.0.1:{port}" for port in task["ports"]]}
    os.environ["TF_CONFIG"] = json.dumps({"cluster": workers, "task": {"type": "worker", "index": task["index"]}})

    from jasper_tf.training.distributed.workers import build_multi_worker_strategy

    strategy = build_multi_worker_strategy(task["count"])
    steps = {}
    for name, shapes in task["shapes"].items():
        with strategy.scope():
            gradients = [tf.ones(shape) for shape in shapes]

        def summed(gradients: list) -> list:
            placed = [tf.identity(one) for one in gradients]  # arguments of a function have no device
            return tf.distribute.get_replica_context().all_reduce(tf.distribute.ReduceOp.SUM, placed)

        def step(gradients: list, summed: Callable = summed) -> object:
            return strategy.run(summed, args=(gradients,))

        function = tf.function(step)
        function(gradients)
        steps[name] = (function, gradients)

    def run() -> dict:
        found = {}
        for name, (function, gradients) in steps.items():
            times, before = [], loopback_bytes()
            for _ in range(task["steps"]):
                began = time.perf_counter()
                result = function(gradients)
                assert float(tf.reshape(result[0], [-1])[0]) == task["count"]
                times.append(time.perf_counter() - began)
            found[name] = {"s": statistics.median(times), "bytes": (loopback_bytes() - before) / task["steps"]}
        return found

    return run


def loopback_bytes() -> int:
    lines = Path("/proc/net/dev").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.strip().startswith("lo:"))


def together(kind: str, count: int, task: dict) -> list[dict]:
    """Starts the processes, lets them begin together, and returns what each measured."""
    processes = []
    for index in range(count):
        given = json.dumps({**task, "kind": kind, "index": index, "count": count})
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        processes.append(
            subprocess.Popen(
                [sys.executable, __file__, "process", "--task", given],
                env=environment,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    for process in processes:
        assert process.stdout and process.stdout.readline() == "ready\n"
    for process in processes:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
    return [json.loads(process.communicate()[0]) for process in processes]


def readers(counts: list[int], cores: int, seconds: float) -> None:
    from remote import make_shards

    with tempfile.TemporaryDirectory() as folder:
        shards = make_shards(Path(folder), 60)
        task, alone = {"shards": str(shards), "cores": cores, "seconds": seconds}, 0.0
        for count in counts:
            rates = [one["rate"] for one in together("readers", count, task)]
            alone = alone or rates[0]
            used = min(count, cores)
            print(
                f"{count} on {used} of {cores} cores: {sum(rates):,.0f} x real time, "
                f"{sum(rates) / used / alone:.2f} of {used} times one alone",
                flush=True,
            )


def gradients(counts: list[int], steps: int) -> None:
    from jasper_tf.config import load_config
    from jasper_tf.model.jasper_ctc import build_model

    shapes = {}
    for name in MODELS:
        model = build_model(load_config(ROOT / "configs" / f"{name}.yaml", ["model.train_ds.manifest_filepath=none"]))
        shapes[name] = [list(variable.shape) for variable in model.trainable_variables]
        size = sum(4 * variable.numpy().size for variable in model.trainable_variables)
        print(f"{name}: {len(shapes[name])} tensors, {size / 1e6:.1f} MB in float32", flush=True)
    for count in counts:
        sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
        ports = [one.getsockname()[1] for one in sockets]
        for one in sockets:
            one.close()
        found = together("gradients", count, {"ports": ports, "shapes": shapes, "steps": steps})
        for name in MODELS:
            seconds = max(one[name]["s"] for one in found)
            sent = statistics.mean(one[name]["bytes"] for one in found) / count
            print(f"{count} processes, {name}: {seconds:.3f} s a step, {sent / 1e6:.1f} MB sent by each", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("readers", "gradients", "process"))
    parser.add_argument("--processes", type=int, nargs="+", metavar="N")
    parser.add_argument("--cores", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=6)
    parser.add_argument("--steps", type=int, default=10)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.what == "readers":
        readers(arguments.processes or [1, 2, 4], arguments.cores, arguments.seconds)
    elif arguments.what == "gradients":
        gradients(arguments.processes or [2, 4], arguments.steps)
    else:
        task = json.loads(arguments.task)
        run = {"readers": read, "gradients": exchange}[task["kind"]](task)
        print("ready", flush=True)
        sys.stdin.readline()
        print(json.dumps(run()), flush=True)


if __name__ == "__main__":
    main()
