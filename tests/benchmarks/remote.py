"""Reading shards from object storage against reading them from the disk.

    python tests/benchmarks/remote.py --endpoint http://127.0.0.1:9000 --minutes 30

The endpoint is an S3 server that is running; AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY for it are in the environment.
Prints seconds of audio per second, from padded batches, alternately from the disk and from the bucket.
"""

import argparse
import contextlib
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import numpy as np
import soundfile

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
    write_shards(str(folder / "m.json"), folder / "shards", ShardSettings(), workers=2)
    return folder / "shards"


def rate(shards: str) -> float:
    """Seconds of audio per second, for one epoch in shuffled batches of 16."""
    utterances = read_manifest(resolve_shards(shards))
    batches = SpeechBatches(
        utterances, CharacterTokenizer(list(" abcdefghijklmnopqrstuvwxyz")), batch_size=16, shuffle=True
    )
    began, seconds = time.perf_counter(), 0.0
    for features, _ in batches.dataset():
        seconds += float(np.sum(features["audio_len"])) / 16000
    return seconds / (time.perf_counter() - began)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--endpoint", required=True)
    parser.add_argument("--minutes", type=float, default=30)
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
        for _ in range(arguments.repeat):
            disk, remote = rate(str(local)), rate("s3://benchmark/shards")
            print(f"disk {disk:,.0f} x real time, bucket {remote:,.0f}, ratio {remote / disk:.2f}")


if __name__ == "__main__":
    main()
