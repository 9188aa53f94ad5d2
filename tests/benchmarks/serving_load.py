"""Times the client against a server, or keeps a server busy with all kinds of requests and looks for what goes wrong.

    python -m tests.benchmarks.serving_load --folder serving/an4 FILE...                 # latency by concurrency
    python -m tests.benchmarks.serving_load --server HOST:8500 FILE...                   # of a server that runs already
    python -m tests.benchmarks.serving_load --folder serving/an4 --soak-s 600 FILE...    # mixed requests for 10 minutes

--folder starts the loopback service of the tests in a process of its own. Latency is one request's, from the samples in
memory to the text, retries included: p50, p95 and p99 of the recordings in turn, of all rounds; the concurrencies take
turns in each round. The soak mixes valid recordings over gRPC and REST, alone and cut into pieces, files that are no
WAV, messages over the server's limit and connections cut on their way; it counts texts that are not the first answer's,
requests without an answer or an error, and errors of another kind than theirs, and prints the resident memory of the
server and of the client after a warm-up of the same requests and at the end. Exit status 1 if it found any.
"""

import argparse
import collections
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np

from jasper_tf.audio.load import load_audio
from jasper_tf.inference.long_audio import Chunking, recognize_long
from jasper_tf.inference.recording import open_recording
from jasper_tf.serving.client.grpc_client import GrpcClient
from jasper_tf.serving.client.rest_client import RestClient
from jasper_tf.serving.client.server_error import BackOff, ServerError

ROOT = Path(__file__).parents[2]
CONCURRENCY = (1, 2, 4, 8, 16)
KINDS = {"grpc": 40, "rest": 25, "long": 10, "broken": 10, "too large": 5, "cut": 10}
"""What a soak sends, in percent; the errors that must follow are those of `Soak._send`."""

TOO_LARGE_BYTES = 8 << 20


def in_threads(count, work):
    # One that hangs is counted as lost, and does not keep the benchmark from its end.
    threads = [threading.Thread(target=work, args=(k,), daemon=True) for k in range(count)]
    for thread in threads:
        thread.start()
    return threads


def latencies(client, sounds, concurrency, requests):
    """Seconds of each of `requests` requests, and of all."""
    todo = iter(range(requests))
    lock = threading.Lock()
    seconds: list[float] = []

    def work(_):
        while True:
            with lock:
                number = next(todo, None)
            if number is None:
                return
            began = time.perf_counter()
            client.recognize(sounds[number % len(sounds)])
            seconds.append(time.perf_counter() - began)

    began = time.perf_counter()
    for thread in in_threads(concurrency, work):
        thread.join()
    if len(seconds) < requests:
        raise SystemExit("error: a request failed; see above")
    return seconds, time.perf_counter() - began


def measure(client, sounds, requests, rounds):
    audio_s = sum(map(len, sounds)) / len(sounds) / 16000
    for sound in sounds:
        client.recognize(sound)
    found: dict[int, list] = {concurrency: [] for concurrency in CONCURRENCY}
    for _ in range(rounds):
        for concurrency, runs in found.items():
            runs.append(latencies(client, sounds, concurrency, requests))
    print(
        f"{type(client).__name__}, recordings of {audio_s:.1f} s on average, {rounds} rounds of {requests} requests\n"
    )
    print("| concurrency | p50 ms | p95 ms | p99 ms | requests/s | seconds of audio/s |\n|---|---|---|---|---|---|")
    for concurrency, runs in found.items():
        every_s = [one_s for seconds, _ in runs for one_s in seconds]
        quantiles = " | ".join(f"{1000 * q:.0f}" for q in np.percentile(every_s, (50, 95, 99)))
        rate = requests / statistics.median(all_s for _, all_s in runs)
        print(f"| {concurrency} | {quantiles} | {rate:.1f} | {audio_s * rate:.0f} |")


class Soak:
    def __init__(self, address, rest_address, proxy, rest_proxy, sounds):
        once = BackOff(retries=0)
        self.grpc = GrpcClient(address, timeout_s=60, back_off=once, max_message_mb=64)
        self.rest = RestClient(rest_address, timeout_s=60, back_off=once, max_message_mb=64)
        # The proxies cut each connection half the time; tried six times, few requests find no way.
        self.cut = [GrpcClient(proxy, timeout_s=60, back_off=BackOff(8, first_s=0.05, longest_s=0.2))]
        self.cut.append(RestClient(rest_proxy, timeout_s=60, back_off=BackOff(8, first_s=0.05, longest_s=0.2)))
        self.sounds = sounds
        self.right = [self.grpc.recognize(sound).text for sound in sounds]
        if [self.rest.recognize(sound).text for sound in sounds] != self.right:
            raise SystemExit("error: gRPC and REST give different texts")
        self.long = np.concatenate([*sounds, *sounds])
        self.right_long = self._in_pieces()
        self.sent: collections.Counter = collections.Counter()
        self.answers: collections.Counter = collections.Counter()
        self.wrong: collections.Counter = collections.Counter()
        self._lock = threading.Lock()

    def work(self, seed, until):
        rng = random.Random(seed)
        while time.monotonic() < until:
            [kind] = rng.choices(list(KINDS), list(KINDS.values()))
            with self._lock:
                self.sent[kind] += 1
            try:
                outcome = self._send(kind, rng)
            except Exception as error:
                outcome = f"{type(error).__name__}: {error}"
            with self._lock:
                self.answers[kind] += 1
                if outcome:
                    self.wrong[f"{kind}: {outcome}"] += 1

    def _in_pieces(self):
        seconds = len(self.long) / 16000
        recording, chunking = open_recording(self.long, 16000), Chunking(seconds / 2, seconds / 10)
        return recognize_long(self.grpc.recognize, recording, 16000, chunking).text

    def _send(self, kind, rng):
        """What was wrong with the answer, or None."""
        k = rng.randrange(len(self.sounds))
        client = {"grpc": self.grpc, "rest": self.rest, "cut": rng.choice(self.cut)}.get(kind)
        if client is not None:
            return None if client.recognize(self.sounds[k]).text == self.right[k] else "wrong text"
        if kind == "long":
            return None if self._in_pieces() == self.right_long else "wrong text"
        try:
            if kind == "broken":
                self.rest.recognize_file(rng.randbytes(rng.randrange(2000)))
            else:
                rng.choice([self.grpc, self.rest]).recognize(np.zeros(TOO_LARGE_BYTES // 3, np.float32))
        except ServerError as error:
            wanted = "refuses the request" if kind == "broken" else "too large"
            return None if wanted in str(error) else str(error)[:200]
        return "no error"


def resident_mb(pid):
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def soak(served, sounds, seconds, concurrency):
    from tests.serving.client.loopback_serving import CuttingProxy

    address, rest_address = (f"127.0.0.1:{served[key]}" for key in ("port", "rest_port"))
    with (
        CuttingProxy(served["port"], cuts=1 << 60, after_bytes=20_000, share=0.5) as proxy,
        CuttingProxy(served["rest_port"], cuts=1 << 60, after_bytes=20_000, share=0.5) as rest_proxy,
    ):
        found = Soak(address, rest_address, proxy.address, rest_proxy.address, sounds)
        warm_up = min(60.0, seconds / 5)
        until = time.monotonic() + warm_up + seconds
        threads = in_threads(concurrency, lambda k: found.work(k, until))
        time.sleep(warm_up)
        memory = [[resident_mb(pid) for pid in (served["pid"], os.getpid())]]
        print("    s   answered   wrong   server MB   client MB")
        while (left := until - time.monotonic()) > 0:
            time.sleep(min(max(seconds / 20, 1.0), left))
            memory.append([resident_mb(pid) for pid in (served["pid"], os.getpid())])
            passed = seconds - max(until - time.monotonic(), 0.0)
            columns = "".join(f"{mb:12.1f}" for mb in memory[-1])
            print(f"{passed:5.0f}{found.answers.total():11d}{found.wrong.total():8d}{columns}", flush=True)
        for thread in threads:
            thread.join(120)
    lost = found.sent - found.answers
    print(f"\n{seconds:g} s after {warm_up:g} s of warm-up, {concurrency} requests at a time\n")
    print("| sent | number | lost | wrong |\n|---|---|---|---|")
    for kind in KINDS:
        wrong = sum(number for what, number in found.wrong.items() if what.startswith(f"{kind}: "))
        print(f"| {kind} | {found.sent[kind]} | {lost[kind]} | {wrong} |")
    print("\n| resident memory | after warm-up | at the end | highest |\n|---|---|---|---|")
    for k, name in enumerate(("server", "client")):
        highest = max(both[k] for both in memory)
        print(f"| {name} | {memory[0][k]:.0f} MB | {memory[-1][k]:.0f} MB | {highest:.0f} MB |")
    for what, number in found.wrong.most_common(20):
        print(f"{number} times {what}")
    return 1 if lost or found.wrong else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    where = parser.add_mutually_exclusive_group(required=True)
    where.add_argument("--folder", help="with the versions that export.py wrote; starts the loopback service")
    where.add_argument("--server", metavar="HOST:PORT", help="one that runs already, for latencies only")
    parser.add_argument("--rest", action="store_true", help="latencies over REST")
    parser.add_argument("--model", default="jasper")
    parser.add_argument("--requests", type=int, default=200, help="for each concurrency (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="of latencies (%(default)s)")
    parser.add_argument("--soak-s", type=float, default=0.0)
    parser.add_argument("--concurrency", type=int, default=4, help="of the soak (%(default)s)")
    parser.add_argument("files", nargs="+", metavar="FILE")
    arguments = parser.parse_args()
    if arguments.soak_s and not arguments.folder:
        parser.error("--soak-s wants --folder: it breaks connections, and reads the server's memory")
    sounds = [load_audio(file) for file in arguments.files]
    client = RestClient if arguments.rest else GrpcClient
    if arguments.server:
        with client(arguments.server, arguments.model) as asked:
            measure(asked, sounds, arguments.requests, arguments.rounds)
        return 0
    script = ROOT / "tests" / "serving" / "loopback_serving.py"
    command = [sys.executable, script, arguments.folder, "--name", arguments.model, "--max-message-mb", "8"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        try:
            served = json.loads(server.stdout.readline())
            if arguments.soak_s:
                return soak(served, sounds, arguments.soak_s, arguments.concurrency)
            with client(f"127.0.0.1:{served['rest_port' if arguments.rest else 'port']}", arguments.model) as asked:
                measure(asked, sounds, arguments.requests, arguments.rounds)
        finally:
            server.send_signal(signal.SIGTERM)
    return 0


if __name__ == "__main__":
    sys.exit(main())
