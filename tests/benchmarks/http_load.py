"""Load on a live server: throughput beside that of offline batches, latency, memory; or live streams in real time.

    python -m tests.benchmarks.http_load MODEL MANIFEST [--seconds 120] [--concurrency 1,4,16,64,96]
    python -m tests.benchmarks.http_load MODEL MANIFEST --soak-s 600      # memory by the minute, at 16
    python -m tests.benchmarks.http_load MODEL MANIFEST --live 4,8,16     # WebSocket streams in real time

Starts `jasper-tf serve` twice, with dynamic batching and without; offline batches (`Transcriber`) and both servers take
turns, --rounds times for each concurrency, and each has --seconds in all. Clients are threads with http.client and
bodies that are ready, so that they cost little of the CPUs that they share with the server; their part is printed. Each
answer is compared with the text of `transcribe`; 429 is tried again after Retry-After, and latency counts from the
first try to the answer. `CPU` is the server's CPU time for each second of audio over that of offline batches: on a
machine that others use too it says more than the clock. Exit status 1 if an answer was lost or wrong.
"""

import argparse
import asyncio
import collections
import contextlib
import http.client
import json
import os
import statistics
import sys
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

from tests.serving.http.live_server import LiveServer

WITHOUT_BATCHES = ("--batch-wait-ms", "0", "--batch-size", "1")
SOAK_CONCURRENCY = 16
STEP_S = 0.1
"""Audio in one message of a live stream."""


class Served:
    """A server, and what it costs."""

    def __init__(self, url, pid=None):
        self.host = urlsplit(url).netloc
        self.pid = pid

    def cpu_s(self):
        if self.pid is None:
            return float("nan")
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def resident_mb(self):
        if self.pid is None:
            return float("nan")
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / 1e6

    def open_files(self):
        return -1 if self.pid is None else len(os.listdir(f"/proc/{self.pid}/fd"))

    def metric(self, name):
        connection = http.client.HTTPConnection(self.host, timeout=60)
        connection.request("GET", "/metrics")
        lines = connection.getresponse().read().decode().splitlines()
        connection.close()
        return sum(float(line.split()[-1]) for line in lines if line.split("{")[0].split(" ")[0] == name)


class Load:
    """Clients that ask one after another, each the next recording."""

    def __init__(self, files, texts):
        self.texts = texts
        self.bodies = []
        for path in files:
            head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
            self.bodies.append(head.encode() + path.read_bytes() + b"\r\n--x--\r\n")
        self.seconds, self.audio, self.problems = [], 0, collections.Counter()
        self.sent = self.retried = 0
        self._lock = threading.Lock()

    def run(self, host, concurrency, seconds):
        """Seconds until the last answer."""
        begin = time.monotonic()
        threads = [
            threading.Thread(target=self._client, args=(host, k * len(self.bodies) // concurrency, begin + seconds))
            for k in range(concurrency)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        return time.monotonic() - begin

    def _client(self, host, k, until):
        connection = http.client.HTTPConnection(host, timeout=120)
        while (begin := time.monotonic()) < until:
            with self._lock:
                self.sent += 1
            try:
                problem = self._ask(connection, k)
            except (OSError, ValueError, http.client.HTTPException) as error:
                problem = f"{type(error).__name__}: {error}"
                connection.close()
            with self._lock:
                self.seconds.append(time.monotonic() - begin)
                self.answered(k, problem)
            k = (k + 1) % len(self.bodies)
        connection.close()

    def answered(self, k, problem):
        if problem:
            self.problems[problem] += 1

    def _ask(self, connection, k):
        """What is wrong with the answer, or None."""
        while True:
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            connection.request("POST", "/v1/audio/transcriptions", self.bodies[k], headers)
            answer = connection.getresponse()
            body = answer.read()
            if answer.status != 429:
                break
            with self._lock:
                self.retried += 1
            time.sleep(float(answer.headers["Retry-After"]))
        if answer.status != 200:
            return f"{answer.status}: {body[:200]!r}"
        return None if json.loads(body)["text"] == self.texts[k] else f"wrong text of recording {k}"

    def report(self):
        """Prints what went wrong; whether anything did."""
        for problem, number in self.problems.most_common(20):
            print(f"{number} times {problem}")
        lost = self.sent - len(self.seconds)
        print(f"{self.sent} requests, {lost} lost, {self.problems.total()} wrong, {self.retried} times 429")
        return bool(lost or self.problems)


class Offline:
    """The rate of batches without a server."""

    def __init__(self, model, files):
        # TensorFlow is loaded by who measures offline batches only.
        from jasper_tf.inference.load_model import load_recognizer
        from jasper_tf.inference.long_audio import Chunking
        from jasper_tf.inference.transcriber import Transcriber

        self._transcriber = Transcriber(load_recognizer(model), Chunking(40.0, 4.0))
        self._files = files
        self.found = self._transcriber.transcribe(files)
        self.audio_s = sum(one.duration_s for one in self.found)

    def rates(self, seconds):
        """Audio seconds per second of the clock, and CPU seconds per second of audio."""
        begin, cpu, passes = time.monotonic(), time.process_time(), 0
        while time.monotonic() - begin < seconds:
            self._transcriber.transcribe(self._files)
            passes += 1
        heard = passes * self.audio_s
        return heard / (time.monotonic() - begin), (time.process_time() - cpu) / heard


class Row:
    """A server at one concurrency."""

    def __init__(self, files, texts, audio_s):
        self.load = Load(files, texts)
        self._mean_s = audio_s / len(files)
        self.wall_s = self.cpu_s = self.client_s = self.batches = self.batched = 0.0
        self.ratios, self.cpu_ratios = [], []

    def round(self, served, concurrency, seconds, offline_rate, offline_cpu):
        before = [served.metric(f"jasper_batch_size_{what}") for what in ("count", "sum")]
        cpu, client, answered = served.cpu_s(), time.process_time(), len(self.load.seconds)
        wall_s = self.load.run(served.host, concurrency, seconds)
        cpu, self.client_s = served.cpu_s() - cpu, self.client_s + time.process_time() - client
        after = [served.metric(f"jasper_batch_size_{what}") for what in ("count", "sum")]
        self.batches, self.batched = self.batches + after[0] - before[0], self.batched + after[1] - before[1]
        heard = (len(self.load.seconds) - answered) * self._mean_s
        self.wall_s, self.cpu_s = self.wall_s + wall_s, self.cpu_s + cpu
        self.ratios.append(heard / wall_s / offline_rate)
        self.cpu_ratios.append(cpu / heard / offline_cpu)

    def line(self, served, concurrency):
        rate = len(self.load.seconds) / self.wall_s
        p50, p99 = 1000 * np.percentile(self.load.seconds, (50, 99))
        return (
            f"| {concurrency} | {rate:.1f} | {rate * self._mean_s:.0f} | {p50:.0f} | {p99:.0f} "
            f"| {statistics.median(self.ratios):.0%} | {statistics.median(self.cpu_ratios):.2f} "
            f"| {self.client_s / (self.client_s + self.cpu_s):.0%} | {self.batched / max(self.batches, 1):.1f} "
            f"| {self.load.retried} | {served.resident_mb():.0f} | {served.open_files()} |"
        )


HEAD = (
    "| at a time | requests/s | audio s/s | p50 ms | p99 ms | of offline | CPU | clients | batch | 429 | MB | files |\n"
    + "|---" * 12
    + "|"
)


def throughput(arguments, servers, offline, files):
    texts = [one.text for one in offline.found]
    bad = False
    tables = {name: [] for name in servers}
    for concurrency in arguments.concurrency:
        rows = {name: Row(files, texts, offline.audio_s) for name in servers}
        slot = arguments.seconds / arguments.rounds
        for _ in range(arguments.rounds):
            for name, served in servers.items():
                row = rows[name]
                row.round(served, concurrency, slot, *offline.rates(slot / 2))
        for name, row in rows.items():
            tables[name].append(row.line(servers[name], concurrency))
            print(f"{name}: {tables[name][-1]}", flush=True)
            bad |= row.load.report()
    rate, _ = offline.rates(arguments.seconds / arguments.rounds)
    print(f"\n{len(files)} recordings, {offline.audio_s:.0f} s; offline batches of 16: {rate:.0f} s of audio/s")
    for name, lines in tables.items():
        print("\n".join([f"\n{name}\n", HEAD, *lines]))
    return bad


def soak(arguments, served, offline, files):
    load = Load(files, [one.text for one in offline.found])
    print(f"    s   answered   wrong     429   server MB   files\n    0{'':27}{served.resident_mb():12.1f}", flush=True)
    thread = threading.Thread(target=load.run, args=(served.host, SOAK_CONCURRENCY, arguments.soak_s))
    begin = time.monotonic()
    thread.start()
    while thread.is_alive():
        thread.join(60 if len(load.seconds) > 5000 else 15)  # it grows at the beginning, if it does
        print(
            f"{time.monotonic() - begin:5.0f}{len(load.seconds):11d}{load.problems.total():8d}{load.retried:8d}"
            f"{served.resident_mb():12.1f}{served.open_files():8d}",
            flush=True,
        )
    return load.report()


async def one_stream(host, sound, wait_s, delays, late):
    """Sends a recording in real time; notes for each final word how long after its end it came."""
    from websockets.asyncio.client import connect

    step = round(16000 * STEP_S) * 2
    async with connect(f"ws://{host}/v1/stream?sample_rate=16000", proxy=None) as socket:
        await socket.recv()
        await asyncio.sleep(wait_s)
        begin = time.monotonic()

        async def send():
            for k in range(0, len(sound), step):
                await asyncio.sleep(begin + (k // step + 1) * STEP_S - time.monotonic())
                late.append(time.monotonic() - begin - (k // step + 1) * STEP_S)
                await socket.send(sound[k : k + step])
            await socket.send('{"type": "end"}')

        sending = asyncio.ensure_future(send())
        async for message in socket:
            found = json.loads(message)
            if found["type"] == "final":
                now = time.monotonic() - begin
                delays += [now - word["end_s"] for word in found.get("words", [])]
        await sending


async def all_streams(host, sounds, delays, late):
    # Their chunks end at different times, as those of people do.
    waits = [1.6 * k / len(sounds) for k in range(len(sounds))]
    await asyncio.gather(
        *(one_stream(host, sound, wait_s, delays, late) for sound, wait_s in zip(sounds, waits, strict=True))
    )


def live(arguments, served, files):
    """For each number of streams: how long a word takes to be final."""
    from jasper_tf.audio.load import load_audio

    silence = np.zeros(8000, np.float32)
    print(
        "| streams | words | delay p50 s | p95 s | worst s | client late, worst s | server CPU s/s | MB |\n"
        + "|---" * 8
        + "|"
    )
    for number in arguments.live:
        rng = np.random.default_rng(0)
        sounds = []
        for _ in range(number):
            parts, size = [], 0
            while size < 16000 * arguments.live_s:
                parts += [load_audio(files[rng.integers(len(files))]), silence]
                size += len(parts[-1]) + len(parts[-2])
            sounds.append(np.round(np.concatenate(parts) * 32767).astype("<i2").tobytes())
        delays, late = [], []
        cpu, begin = served.cpu_s(), time.monotonic()
        asyncio.run(all_streams(served.host, sounds, delays, late))
        cpu = (served.cpu_s() - cpu) / (time.monotonic() - begin)
        p50, p95 = np.percentile(delays, (50, 95))
        print(
            f"| {number} | {len(delays)} | {p50:.2f} | {p95:.2f} | {max(delays):.2f} | {max(late):.2f} | {cpu:.2f} "
            f"| {served.resident_mb():.0f} |",
            flush=True,
        )
    return False


def numbers(text):
    return [int(one) for one in text.split(",")]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", type=Path, help="what `transcribe` takes")
    parser.add_argument("manifest", nargs="+", type=Path)
    parser.add_argument("--url", help="of a server with this model that runs already; its memory is not read")
    parser.add_argument("--seconds", type=float, default=120.0, help="of each server at each concurrency (%(default)g)")
    parser.add_argument("--concurrency", type=numbers, default=[1, 4, 16, 64, 96])
    parser.add_argument("--rounds", type=int, default=4, help="in which they take turns (%(default)s)")
    parser.add_argument("--soak-s", type=float, default=0.0)
    parser.add_argument("--live", type=numbers, metavar="N[,N...]", help="streams at a time")
    parser.add_argument("--live-s", type=float, default=30.0, help="length of each stream (%(default)g)")
    arguments = parser.parse_args()
    files = []
    for manifest in arguments.manifest:
        lines = [json.loads(line) for line in manifest.read_text().splitlines()]
        files += [manifest.parent / line["audio_filepath"] for line in lines]
    with contextlib.ExitStack() as running:

        def start(*options):
            server = running.enter_context(LiveServer(arguments.model, "--access-log", "off", *options))
            return Served(server.url, server.process.pid)

        served = Served(arguments.url) if arguments.url else start("--max-live-streams", "256")
        if arguments.live:
            return live(arguments, served, files)
        offline = Offline(arguments.model, files)
        if arguments.soak_s:
            return soak(arguments, served, offline, files)
        servers = {"with dynamic batching": served}
        if not arguments.url:
            servers["without"] = start(*WITHOUT_BATCHES)
        return throughput(arguments, servers, offline, files)


if __name__ == "__main__":
    sys.exit(main())
