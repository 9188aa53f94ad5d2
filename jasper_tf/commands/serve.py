"""python -m jasper_tf serve: a live server with OpenAI's interface and a page."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from pathlib import Path

from jasper_tf.commands._arguments import add_model_argument
from jasper_tf.commands._decoding import DecodingOptions, add_decoding_arguments, split_overrides
from jasper_tf.config.sections.decoding_schema import DecodingConfig
from jasper_tf.errors import UserError, printable
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.model_path import require_model_path
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.serving.http.model_threads import choose_parallel_batches, limit_threads
from jasper_tf.serving.http.server_settings import ServerSettings

HELP = "serve a model: OpenAI's /v1/audio/transcriptions, live audio, and a page to speak to"
INTERMIXED = True

_NEEDED = ("fastapi", "uvicorn", "multipart", "websockets", "prometheus_client")
_LOCAL = ("127.0.0.1", "::1", "localhost")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    default = ServerSettings()
    add_model_argument(parser)
    add_decoding_arguments(parser, n_best=False)
    listening = parser.add_argument_group("address")
    listening.add_argument("--host", default=default.host, help="address to listen on (%(default)s); 0.0.0.0: all")
    listening.add_argument("--port", type=int, default=default.port, metavar="N", help="%(default)s; 0: any free one")
    listening.add_argument("--tls-cert", default="", metavar="F.pem", help="certificate chain, for https")
    listening.add_argument("--tls-key", default="", metavar="F.pem", help="its private key, unless the chain has it")
    listening.add_argument(
        "--api-key", metavar="KEY", help="what clients must send; rather set the variable JASPER_API_KEY"
    )
    listening.add_argument(
        "--cors-origin", action="append", default=[], metavar="URL", help="whose pages may call the server; * for all"
    )
    listening.add_argument(
        "--access-log", choices=("plain", "json", "off"), default=default.access_log, help="lines on stderr"
    )
    work = parser.add_argument_group("work")
    work.add_argument("--queue", type=int, default=default.queue, metavar="N", help="accepted requests (%(default)s)")
    work.add_argument(
        "--batch-wait-ms",
        type=float,
        default=default.batch_wait_ms,
        metavar="MS",
        help="how long a recording waits for others to be recognized with (%(default)g)",
    )
    work.add_argument(
        "--batch-size", type=int, default=default.batch_size, metavar="N", help="recordings at a time (%(default)s)"
    )
    work.add_argument(
        "--threads",
        type=int,
        metavar="N",
        help="of the model's operations (all cores; of a model below 10 MB all but one, for the requests)",
    )
    work.add_argument(
        "--chunk-s", type=float, default=40.0, metavar="S", help="longer recordings are cut into pieces (%(default)g)"
    )
    work.add_argument("--overlap-s", type=float, default=4.0, metavar="S", help="overlap of pieces (%(default)g)")
    limits = parser.add_argument_group("limits")
    limits.add_argument("--max-upload-mb", type=float, default=default.max_upload_mb, metavar="MB", help="%(default)g")
    limits.add_argument("--max-audio-s", type=float, default=default.max_audio_s, metavar="S", help="%(default)g")
    limits.add_argument("--max-beam-size", type=int, default=default.max_beam_size, metavar="N", help="%(default)s")
    limits.add_argument(
        "--max-live-streams", type=int, default=default.max_live_streams, metavar="N", help="at a time (%(default)s)"
    )
    limits.add_argument(
        "--live-keep-s",
        type=float,
        default=default.live_keep_s,
        metavar="S",
        help="how long a live stream waits for a client that lost its connection (%(default)g)",
    )
    limits.add_argument(
        "--body-timeout-s",
        type=float,
        default=default.body_timeout_s,
        metavar="S",
        help="how long an upload may take (%(default)g)",
    )
    parser.add_argument(
        "overrides",
        nargs="*",
        metavar="decoding.KEY=value",
        help="changes the decoding section of the model; requests may change it further",
    )


def run(arguments: argparse.Namespace) -> int:
    """Serves until it is stopped; 0 when it was asked to stop."""
    overrides, others = split_overrides(arguments.overrides)
    if others:
        raise UserError(f"{others[0]}: is not decoding.KEY=value; the server takes recordings from its clients")
    if missing := [name for name in _NEEDED if importlib.util.find_spec(name) is None]:
        raise UserError(f"serve needs {', '.join(missing)}; pip install 'jasper-tf[server]'")
    if arguments.threads is not None and arguments.threads < 1:
        raise UserError(f"--threads {arguments.threads}: must be 1 or more")
    require_model_path(arguments.model, exports=True)
    settings = _settings(arguments)
    decoding = DecodingOptions(arguments, overrides)
    chunking = Chunking(arguments.chunk_s, arguments.overlap_s)

    def load() -> tuple[Transcriber, DecodingConfig]:
        print(f"loading {printable(arguments.model)}", file=sys.stderr, flush=True)
        limit_threads(arguments.model, arguments.threads)
        model = load_recognizer(arguments.model, arguments.threads)
        config = decoding.apply(model.decoding_config)
        transcriber = Transcriber(model, chunking, config if decoding.given else None)
        return transcriber, config

    if settings.host not in _LOCAL and not settings.api_key:
        print(f"anyone who reaches {settings.host} can use the server; --api-key asks for a key", file=sys.stderr)
    from jasper_tf.serving.http.run_server import run_server  # an extra

    run_server(settings, load)
    return 0


def _settings(arguments: argparse.Namespace) -> ServerSettings:
    key = arguments.api_key
    return ServerSettings(
        model_name=Path(os.path.abspath(arguments.model)).name,
        host=arguments.host,
        port=arguments.port,
        api_key=os.environ.get("JASPER_API_KEY", "") if key is None else key,
        queue=arguments.queue,
        batch_wait_ms=arguments.batch_wait_ms,
        batch_size=arguments.batch_size,
        parallel_batches=choose_parallel_batches(arguments.model),
        max_upload_mb=arguments.max_upload_mb,
        max_audio_s=arguments.max_audio_s,
        max_beam_size=arguments.max_beam_size,
        max_live_streams=arguments.max_live_streams,
        live_keep_s=arguments.live_keep_s,
        body_timeout_s=arguments.body_timeout_s,
        tls_cert=arguments.tls_cert,
        tls_key=arguments.tls_key,
        cors_origins=tuple(arguments.cors_origin),
        access_log=arguments.access_log,
    )
