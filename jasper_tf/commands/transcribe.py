"""python -m jasper_tf transcribe: audio files to text."""

from __future__ import annotations

import argparse
import contextlib
import sys

from jasper_tf.errors import UserError, printable
from jasper_tf.inference.model_path import require_model_path
from jasper_tf.io.progress import Progress, clock

HELP = "print the text of audio files, one line per file: path, tab, text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="a run's folder, a model.keras, a .nemo, or a folder written by export.py",
    )
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="files at a time (default %(default)s)")
    parser.add_argument(
        "--chunk-s",
        type=float,
        default=40.0,
        metavar="S",
        help="longer files are cut into pieces and joined by their words (%(default)g; 0: never)",
    )
    parser.add_argument("--overlap-s", type=float, default=4.0, metavar="S", help="overlap of pieces (%(default)g)")
    parser.add_argument("files", nargs="+", metavar="FILE", help="WAV, FLAC, OGG, MP3: whatever libsndfile reads")


def run(arguments: argparse.Namespace) -> int:
    """Prints `path<TAB>text` in the order given; returns 1 if a file cannot be read, after the others."""
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size {arguments.batch_size}: must be 1 or more")
    require_model_path(arguments.model, exports=True)
    failed = 0
    # stdout is for texts only; what a library prints goes to stderr.
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        from jasper_tf.inference.load_model import load_recognizer
        from jasper_tf.inference.long_audio import Chunking
        from jasper_tf.inference.transcriber import Transcriber

        chunking = Chunking(arguments.chunk_s, arguments.overlap_s)
        transcriber = Transcriber(
            load_recognizer(arguments.model), chunking, words=False, batch_size=arguments.batch_size
        )
        progress = Progress("transcribing", None, clock)

        def show(done_s: float, opened_s: float, opened: int) -> None:
            # Files whose headers are not read yet are assumed to have the mean length of the others.
            progress.total = round(opened_s / opened * len(arguments.files))
            progress.advance(round(done_s) - progress.done)

        with progress:
            found = transcriber.stream(arguments.files, on_progress=show)
            for path, one in zip(arguments.files, found, strict=True):
                progress.clear()
                if isinstance(one, UserError):
                    failed += 1
                    print(f"error: {one}", file=sys.stderr)
                else:
                    print(f"{printable(path)}\t{printable(one.text)}", file=stdout, flush=True)
    return 1 if failed else 0
