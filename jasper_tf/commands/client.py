"""python -m jasper_tf client: audio files to text by a TensorFlow Serving server."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

import numpy as np

from jasper_tf.audio.pcm import to_float
from jasper_tf.config.sections.decoding_schema import BeamConfig
from jasper_tf.decoding.beam.hot_word_file import read_hot_words
from jasper_tf.errors import UserError, printable
from jasper_tf.inference.long_audio import Chunking, recognize_long
from jasper_tf.inference.recording import open_recording
from jasper_tf.inference.transcript import Transcript
from jasper_tf.io.thread_pool import map_in_order
from jasper_tf.serving.client.grpc_client import GRPC_PORT, MAX_MESSAGE_MB, MODEL_NAME, GrpcClient
from jasper_tf.serving.client.live_stream import stream_text
from jasper_tf.serving.client.rest_client import REST_PORT, RestClient
from jasper_tf.serving.client.server_error import BackOff, ServerError

_CHUNK_S, _LIVE_CHUNK_S = 30.0, 0.32
_LIVE_BLOCK_S = 0.02

HELP = "print the text of audio files by a TensorFlow Serving server, one line per file: path, tab, text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--server",
        required=True,
        metavar="HOST[:PORT]",
        help=f"the server's address (default port {GRPC_PORT}, with --rest {REST_PORT})",
    )
    parser.add_argument("--rest", action="store_true", help="use HTTP and JSON instead of gRPC")
    parser.add_argument("--model", default=MODEL_NAME, metavar="NAME", help="its name on the server (%(default)s)")
    parser.add_argument("--version", type=int, metavar="N", help="its version (default: the server's choice)")
    parser.add_argument("--json", action="store_true", help="print lines of JSON: text, confidence, words with times")
    parser.add_argument(
        "--timeout", type=float, default=60.0, metavar="S", help="deadline of one request, seconds (%(default)g)"
    )
    parser.add_argument(
        "--retries",
        type=int,
        default=4,
        metavar="N",
        help="repetitions of a request while no server responds, after growing waits (%(default)s)",
    )
    parser.add_argument("--concurrency", type=int, default=4, metavar="N", help="requests at a time (%(default)s)")
    parser.add_argument(
        "--max-message-mb", type=float, default=MAX_MESSAGE_MB, metavar="MB", help="largest message (%(default)g)"
    )
    parser.add_argument(
        "--chunk-s",
        type=float,
        metavar="S",
        help=f"longer files are cut into pieces and joined by their words ({_CHUNK_S:g}; 0: never); with --live, the "
        f"audio of a request ({_LIVE_CHUNK_S:g})",
    )
    parser.add_argument("--overlap-s", type=float, default=4.0, metavar="S", help="overlap of pieces (%(default)g)")
    parser.add_argument(
        "--hot-words",
        metavar="FILE",
        help="words or phrases to expect, one a line, each with its weight behind it or without (for models that were "
        "exported with a beam search)",
    )
    parser.add_argument("--sample-rate", type=int, default=16000, metavar="HZ", help="the model's (%(default)s)")
    parser.add_argument(
        "--live",
        action="store_true",
        help="send one FILE, or - for 16-bit PCM (mono, little-endian, at --sample-rate) from the standard input, as a "
        "live stream, and print the text as it comes; for exports of models that can stream",
    )
    parser.add_argument("files", nargs="+", metavar="FILE", help="WAV, FLAC, OGG, MP3: whatever libsndfile reads")


def run(arguments: argparse.Namespace) -> int:
    """Prints `path<TAB>text` in the order given; returns 1 if a file has no text, after the others."""
    if arguments.chunk_s is None:
        arguments.chunk_s = _LIVE_CHUNK_S if arguments.live else _CHUNK_S
    _check(arguments)
    if arguments.live:
        return _run_live(arguments)
    chunking = Chunking(arguments.chunk_s, arguments.overlap_s)
    failed = 0
    with _client(arguments) as client:
        longest = client.max_samples() / arguments.sample_rate
        if arguments.chunk_s > longest:
            raise UserError(
                f"--chunk-s {arguments.chunk_s:g}: at {arguments.sample_rate} Hz at most {longest:.1f} s fit into "
                f"--max-message-mb {arguments.max_message_mb:g}"
            )
        for number, (path, found) in enumerate(_ask_in_order(client, arguments, chunking), 1):
            if isinstance(found, Transcript):
                print(_line(path, found, arguments.json), flush=True)
                continue
            failed += 1
            if isinstance(found, ServerError) and found.concerns_all:
                unasked = len(arguments.files) - number
                rest = f" ({unasked} more files not sent)" if unasked else ""
                print(f"error: {printable(path)}: {found}{rest}", file=sys.stderr)
                break
            # load_audio's own messages begin with the path.
            where = printable(f"{path}: ")
            print(f"error: {where}{str(found).removeprefix(where)}", file=sys.stderr, flush=True)
    return 1 if failed else 0


def _run_live(arguments: argparse.Namespace) -> int:
    """Prints the text of one stream as it comes, or a line of JSON for each part of it; 1 after an error."""
    rate = arguments.sample_rate
    with _client(arguments) as client:
        try:
            for text in stream_text(client, _live_audio(arguments.files[0], rate), rate, arguments.chunk_s):
                if not arguments.json:
                    print(printable(text), end="", flush=True)
                elif text:
                    print(json.dumps({"text": text}, ensure_ascii=False), flush=True)
        except UserError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return 1
    if not arguments.json:
        print()
    return 0


def _live_audio(path: str, sample_rate: int) -> Iterator[np.ndarray]:
    if path != "-":
        yield open_recording(path, sample_rate).whole()
        return
    samples = round(_LIVE_BLOCK_S * sample_rate)
    while block := sys.stdin.buffer.read(2 * samples):
        yield to_float(np.frombuffer(block, "<i2", len(block) // 2))
        if len(block) % 2:
            print("note: standard input ended in half a sample, which was not sent", file=sys.stderr, flush=True)


def _line(path: str, found: Transcript, as_json: bool) -> str:
    if as_json:
        return printable(json.dumps({"audio_filepath": path, **found.as_json()}, ensure_ascii=False))
    return f"{printable(path)}\t{printable(found.text)}"


def _ask_in_order(
    client: GrpcClient | RestClient, arguments: argparse.Namespace, chunking: Chunking
) -> Iterator[tuple[str, Transcript | UserError]]:
    answered = False

    def ask(path: str) -> Transcript | UserError:
        nonlocal answered
        rate = arguments.sample_rate
        try:
            found = recognize_long(client.recognize, open_recording(path, rate), rate, chunking, words=arguments.json)
        except ServerError as error:
            if not error.unavailable:
                answered = True
            elif not answered:
                # The server has never responded: the other files need no retries.
                error.concerns_all = True
            return error
        except UserError as error:
            return error
        answered = True
        return found

    # A few ahead, not all: their samples are in memory.
    answers = map_in_order(ask, arguments.files, arguments.concurrency, 2 * arguments.concurrency)
    return zip(arguments.files, answers, strict=True)


def _client(arguments: argparse.Namespace) -> GrpcClient | RestClient:
    port = REST_PORT if arguments.rest else GRPC_PORT
    server = arguments.server if _port(arguments.server) is not None else f"{arguments.server}:{port}"
    file, weight = arguments.hot_words, BeamConfig.hot_word_weight
    options = {
        "model": arguments.model,
        "version": arguments.version,
        "timeout_s": arguments.timeout,
        "back_off": BackOff(arguments.retries),
        "max_message_mb": arguments.max_message_mb,
        "hot_words": None if file is None else read_hot_words(file, weight),
    }
    if arguments.rest:
        return RestClient(server, sample_rate=arguments.sample_rate, **options)
    return GrpcClient(server, **options)


def _port(server: str) -> int | None:
    """The port of HOST:PORT; None for HOST.

    Raises:
        UserError: `server` is neither.
    """
    host, colon, port = server.rpartition(":")
    # IPv6 addresses are in brackets: [::1]:8500.
    if not colon or server.endswith("]"):
        host, port = server, ""
    bracketed = host.startswith("[") and host.endswith("]")
    if not host or any(c in host for c in "/ ") or (":" in host and not bracketed):
        raise UserError(f"--server {server}: give HOST or HOST:PORT, without http:// and without a path")
    if not colon or server.endswith("]"):
        return None
    if not port.isdecimal() or not 0 < int(port) < 65536:
        raise UserError(f"--server {server}: the port must be a number from 1 to 65535")
    return int(port)


def _check(arguments: argparse.Namespace) -> None:
    rules = (
        ("--timeout", arguments.timeout, arguments.timeout > 0, "must be more than 0"),
        ("--retries", arguments.retries, arguments.retries >= 0, "must be 0 or more"),
        ("--concurrency", arguments.concurrency, arguments.concurrency >= 1, "must be 1 or more"),
        ("--max-message-mb", arguments.max_message_mb, 0 < arguments.max_message_mb < 2048, "from 0 to 2047"),
        ("--sample-rate", arguments.sample_rate, arguments.sample_rate >= 1000, "must be 1000 or more"),
        (
            "--chunk-s",
            arguments.chunk_s,
            not arguments.live or 0 < arguments.chunk_s <= 60,
            "must be above 0 with --live, and at most 60",
        ),
        ("--version", arguments.version, arguments.version is None or arguments.version >= 0, "must be 0 or more"),
    )
    for option, value, holds, must in rules:
        if not holds:
            raise UserError(f"{option} {value:g}: {must}")
    if arguments.live and len(arguments.files) > 1:
        raise UserError(f"--live: takes one recording, not {len(arguments.files)}; start a client for each")
    if arguments.live and arguments.hot_words:
        raise UserError("--live: the server decodes a stream greedily, without hot words; leave out --hot-words")
