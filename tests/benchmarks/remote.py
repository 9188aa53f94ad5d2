"""Reading shards from object storage against reading them from the disk.

    python tests/benchmarks/remote.py --endpoint http://127.0.0.1:9000 --server-pid 123 --minutes 60

The endpoint is an S3 server that is running; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for it are in the environment.
Prints seconds of audio per second, from padded batches, alternately from the disk and from the bucket, and where the
server runs on the same machine the processor time of both: a server elsewhere takes none of it from the readers.
"""

import argparse
import contextlib
import json
import os
import resource
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import soundfile
import tensorflow as tf

from jasper_tf.data.batches.pipeline import SpeechBatches
from jasper_tf.data.manifest.columns import read_manifest
from jasper_tf.data.storage.shard_index import resolve_shards
from jasper_tf.data.storage.shard_plan import ShardSettings
from jasper_tf.data.storage.shard_writer import write_shards
from jasper_tf.io.object_storage import list_remote, upload
from jasper_tf.text.tokenizer import CharacterTokenizer

UTTERANCE_S = 12


def make_shards(folder: Path, minutes: float) -> Path:
    """A folder of shards of `minutes` of noise, in utterances of 12 s."""
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, 16000 * UTTERANCE_S)
    soundfile.write(folder / "a.wav", noise, 16000)
    line = json.dumps({"audio_filepath": "a.wav", "duration": UTTERANCE_S, "text": "some words to be read"})
    count = int(minutes * 60 / UTTERANCE_S)
    (folder / "m.json").write_text(f"{line}\n" * count)
    write_shards(str(folder / "m.json"), folder / "shards", ShardSettings(shard_size_mb=30), workers=2)
    return folder / "shards"


def rate(shards: str, server: int | None, seconds: float) -> tuple[float, float, float]:
    """Seconds of audio per second, in shuffled batches of 16, once the pipeline runs; and for each utterance the
    processor time in milliseconds, of us and of the server."""
    letters = CharacterTokenizer(list(" abcdefghijklmnopqrstuvwxyz"))
    batches = SpeechBatches(read_manifest(resolve_shards(shards)), letters, batch_size=16, shuffle=True, buckets=1)
    stream = iter(batches.distributed(tf.distribute.get_strategy(), endless=True))
    for _ in range(30):
        next(stream)
    ours, theirs = own_time(), server_time(server)
    began, read_s = time.perf_counter(), 0.0
    while (took := time.perf_counter() - began) < seconds:
        read_s += float(np.sum(next(stream)[0]["audio_len"])) / 16000
    each = 1000 * UTTERANCE_S / read_s
    return read_s / took, each * (own_time() - ours), each * (server_time(server) - theirs)


def own_time() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def server_time(pid: int | None) -> float:
    if pid is None:
        return 0.0
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--server-pid", type=int)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--repeat", type=int, default=3)
    arguments = parser.parse_args()
    os.environ["AWS_ENDPOINT_URL"] = arguments.endpoint
    with contextlib.suppress(urllib.error.HTTPError):  # it is there
        urllib.request.urlopen(urllib.request.Request(f"{arguments.endpoint}/benchmark", method="PUT")).close()
    with tempfile.TemporaryDirectory() as folder:
        local = make_shards(Path(folder), arguments.minutes)
        for file in local.iterdir():
            upload(file, f"s3://benchmark/shards/{file.name}")
        size = sum(list_remote("s3://benchmark/shards").values())
        print(f"{size / 1e6:.0f} MB in {len(list(local.glob('*.tfrecord')))} shards")
        for _ in range(arguments.repeat + 1):  # the first warms the caches
            disk, disk_ms, _ = rate(str(local), None, arguments.seconds)
            remote, remote_ms, server_ms = rate("s3://benchmark/shards", arguments.server_pid, arguments.seconds)
            print(
                f"disk {disk:,.0f} x real time, {disk_ms:.2f} ms each; bucket {remote:,.0f}, {remote_ms:.2f} ms and "
                f"{server_ms:.2f} ms of the server; ratio {remote / disk:.2f}, without the server's time "
                f"{disk_ms / remote_ms:.2f}",
                flush=True,
            )


if __name__ == "__main__":
    main()
