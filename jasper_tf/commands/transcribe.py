"""python -m jasper_tf transcribe: sound files to text."""

from __future__ import annotations

import argparse
import contextlib
import sys

HELP = "print the text of sound files, one line per file: path, tab, text"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model",
        required=True,
        metavar="M",
        help="a run's folder, a model.keras, a .nemo, or a folder written by export.py",
    )
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="files at a time (default %(default)s)")
    parser.add_argument("files", nargs="+", metavar="FILE", help="WAV, FLAC, OGG, MP3: whatever libsndfile reads")


def run(arguments: argparse.Namespace) -> int:
    """Prints `path<TAB>text` in the order given; 1 if a file could not be read, the others are still transcribed."""
    from jasper_tf.errors import UserError

    if arguments.batch_size < 1:
        raise UserError(f"--batch-size {arguments.batch_size}: must be 1 or more")
    failed = 0
    # Only texts belong on stdout; whatever a library prints goes to stderr.
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        from jasper_tf.audio.load import load_audio
        from jasper_tf.export.saved_model.writer import SavedModelTranscriber, find_saved_model
        from jasper_tf.inference.load_model import load_model

        exported = find_saved_model(arguments.model)
        model = SavedModelTranscriber(exported) if exported else load_model(arguments.model)
        for first in range(0, len(arguments.files), arguments.batch_size):
            paths, sounds = [], []
            for path in arguments.files[first : first + arguments.batch_size]:
                try:
                    sounds.append(load_audio(path, model.sample_rate))
                    paths.append(path)
                except UserError as error:
                    failed += 1
                    print(f"error: {error}", file=sys.stderr)
            for path, text in zip(paths, model.transcribe(sounds, arguments.batch_size) if sounds else [], strict=True):
                print(f"{path}\t{text}", file=stdout, flush=True)
    return 1 if failed else 0
