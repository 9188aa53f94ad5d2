"""python -m jasper_tf transcribe: audio files to text."""

from __future__ import annotations

import argparse
import contextlib
import functools
import json
import os
import pickle
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from jasper_tf.commands._arguments import add_model_argument, make_folder, split_formats
from jasper_tf.commands._decoding import DecodingOptions, add_decoding_arguments, split_overrides
from jasper_tf.commands._live import add_live_arguments, run_live, validate_live_arguments
from jasper_tf.commands._runner import (
    add_runner_arguments,
    describe_job,
    goes_on,
    parts_folder,
    read_runner,
    unfinished_folder,
)
from jasper_tf.data.jobs.run_parts import run_parts
from jasper_tf.data.jobs.runner import Runner
from jasper_tf.errors import UserError, printable
from jasper_tf.inference.inputs import Input, find_inputs, output_names
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.model_path import require_model_path
from jasper_tf.inference.subtitles import (
    FORMATS,
    format_transcript,
    suffix_of,
)
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.inference.transcript import Transcript
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.progress import Progress, clock
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, validate_outputs

HELP = "print the text of audio files, one line per file: path, tab, text; write subtitles and JSON; or listen (--live)"
INTERMIXED = True

_PART = 128
"""Recordings that are a unit of work: a window of the Transcriber, so that its batches are the same."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument(
        "--format",
        type=_formats,
        default=("text",),
        metavar="F",
        help="text, json, tsv, srt or vtt; with --output-dir also several with commas, or all (default text)",
    )
    parser.add_argument(
        "--output-dir",
        metavar="D",
        help="write a file for each recording and format, named after the recording, and print its path",
    )
    parser.add_argument("--words", action="store_true", help="each word with its time; in srt and vtt a cue a word")
    add_overwrite_argument(parser)
    add_decoding_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="files at a time (default %(default)s)")
    parser.add_argument(
        "--chunk-s",
        type=float,
        default=40.0,
        metavar="S",
        help="longer files are cut into pieces and joined by their words (%(default)g; 0: never)",
    )
    parser.add_argument("--overlap-s", type=float, default=4.0, metavar="S", help="overlap of pieces (%(default)g)")
    add_live_arguments(parser)
    add_runner_arguments(parser, "load the model once per worker", workers=1)
    parser.add_argument(
        "files",
        nargs="*",
        metavar="FILE",
        help="an audio file (M4A, MP4, WebM, WMA: with the extra formats), a folder of them, a pattern such as "
        "'talks/*.mp3', a manifest (.json, .jsonl), or - for standard input; decoding.KEY=value changes the decoding "
        "section of the model",
    )


def run(arguments: argparse.Namespace) -> int:
    """Prints or writes transcripts in the order given.

    Returns 1 if a recording cannot be read, after the others; 2 if there is none at any of the names.
    """
    overrides, names = split_overrides(arguments.files)
    validate_live_arguments(arguments)
    if arguments.live:
        return run_live(arguments, names, overrides)
    if not names:
        raise UserError("no recordings; name audio files, folders or a manifest")
    _validate(arguments)
    decoding = DecodingOptions(arguments, overrides)
    require_model_path(arguments.model, exports=True)
    Chunking(arguments.chunk_s, arguments.overlap_s)  # refuses wrong ones
    inputs = find_inputs(names, getattr(sys.stdin, "buffer", None))
    good = [one for one in inputs if one.error is None]
    files = _plan_files(arguments, good, [*names, *decoding.files])
    if not files and len(good) > 1 and arguments.format[0] in ("tsv", "srt", "vtt"):
        raise UserError(f"--format {arguments.format[0]}: {len(good)} recordings; name a folder with --output-dir")
    runner = read_runner(arguments, unfinished_folder(arguments.output_dir) is None)
    failed = without_list = 0
    # stdout is for texts only; what a library prints goes to stderr.
    stdout = sys.stdout
    with contextlib.redirect_stdout(sys.stderr):
        found = _deliveries(arguments, decoding, good, files, runner)
        for one in inputs:
            done: dict[str, Any] = {"error": str(one.error)} if one.error else next(found)
            if error := done.get("error"):
                failed += 1
                where = f"{one.line}: " if one.line and not one.error else ""
                print(f"error: {where}{error}", file=sys.stderr)
                continue
            without_list += done["without_list"]
            print(done["printed"], end="", file=stdout, flush=True)
        next(found, None)  # the work folder is deleted
    if without_list:
        print(
            f"{without_list} recordings were cut into pieces and have one text; --chunk-s 0 cuts none", file=sys.stderr
        )
    if failed and len(inputs) > 1:
        print(f"{failed} of {len(inputs)} recordings could not be transcribed", file=sys.stderr)
    if all(one.absent for one in inputs):
        return 2
    return 1 if failed else 0


def _formats(value: str) -> tuple[str, ...]:
    return FORMATS if value == "all" else split_formats(value, FORMATS)


def _validate(arguments: argparse.Namespace) -> None:
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size {arguments.batch_size}: must be 1 or more")
    if len(arguments.format) > 1 and arguments.output_dir is None:
        raise UserError(f"--format {','.join(arguments.format)}: several formats; name a folder with --output-dir")
    if arguments.n_best is not None and "json" not in arguments.format:
        if arguments.format != ("text",) or arguments.output_dir is not None:
            raise UserError(f"--n-best: {','.join(arguments.format)} has no place for several texts; add json")
        if arguments.words:
            raise UserError("--n-best: --words prints words of one text; choose --format json")


def _plan_files(arguments: argparse.Namespace, inputs: Sequence[Input], named: Sequence[str]) -> list[dict[str, str]]:
    """For each input the files to write, by format; empty without `--output-dir`."""
    folder = arguments.output_dir
    if folder is None:
        return []
    files = [
        {form: os.path.join(folder, name + suffix_of(form)) for form in arguments.format}
        for name in output_names(inputs)
    ]
    outputs = [Output("--output-dir", path) for paths in files for path in paths.values()]
    read = [*(one.name for one in inputs), *named]
    validate_outputs(outputs, read, arguments.overwrite or goes_on(arguments, folder), makes_folders=True)
    make_folder("--output-dir", folder)
    return files


def _deliveries(
    arguments: argparse.Namespace,
    decoding: DecodingOptions,
    inputs: Sequence[Input],
    files: Sequence[dict[str, str]],
    runner: Runner,
) -> Iterator[dict[str, Any]]:
    """For each recording what `_deliver` returns, in order."""
    if not inputs:
        return
    settings = pickle.dumps((arguments, decoding))
    items = list(zip(inputs, files or [{}] * len(inputs), strict=True))
    if not (runner.engine or arguments.work_dir or runner.workers > 1):
        progress = Progress("transcribing", None, clock)

        def show(done_s: float, opened_s: float, opened: int) -> None:
            # Files whose headers are not read yet are assumed to have the mean length of the others.
            progress.total = round(opened_s / opened * len(inputs))
            progress.advance(round(done_s) - progress.done)

        with progress:
            found = _load(settings).transcribe_each((one.source for one in inputs), on_progress=show)
            for (one, paths), transcript in zip(items, found, strict=True):
                progress.clear()
                yield _deliver(arguments, one, transcript, paths)
        return
    if any(one.name == "-" for one in inputs):
        raise UserError("-: standard input is read by one process; leave --workers and --runner out, or name the file")
    parts = [items[i : i + _PART] for i in range(0, len(items), _PART)]
    with (
        parts_folder(arguments, describe_job("transcribe", arguments, items), arguments.output_dir) as place,
        Progress("transcribing", len(items)) as progress,
    ):
        for result in run_parts(functools.partial(_transcribe_part, settings), parts, runner, place):
            for done in result.value:
                (progress.skip if result.kept else progress.advance)(1)
                progress.clear()
                yield done


def _transcribe_part(settings: bytes, part: Sequence[tuple[Input, dict[str, str]]]) -> list[dict[str, Any]]:
    """Transcribes a part of the recordings; what the workers call."""
    arguments, _ = pickle.loads(settings)
    found = _load(settings).transcribe_each(one.source for one, _ in part)
    return [_deliver(arguments, one, result, paths) for (one, paths), result in zip(part, found, strict=True)]


@functools.lru_cache(1)
def _load(settings: bytes) -> Transcriber:
    """Loads the model, once in a process."""
    arguments, decoding = pickle.loads(settings)
    words = arguments.words or arguments.output_dir is not None or arguments.format != ("text",)
    model = load_recognizer(arguments.model)
    config = decoding.apply(model.decoding_config) if decoding.given else None
    return Transcriber(model, Chunking(arguments.chunk_s, arguments.overlap_s), config, words, arguments.batch_size)


def _deliver(
    arguments: argparse.Namespace, one: Input, found: Transcript | UserError, paths: dict[str, str]
) -> dict[str, Any]:
    """Writes the files of a recording; returns what is to be printed, or the error."""
    if isinstance(found, UserError):
        return {"error": str(found)}
    for form, path in paths.items():
        _write(path, found, form, arguments.words)
    printed = "".join(f"{printable(path)}\n" for path in paths.values()) or _format(one, found, arguments)
    return {"printed": printed, "without_list": (arguments.n_best or 1) > 1 and found.n_best is None}


def _format(one: Input, found: Transcript, arguments: argparse.Namespace) -> str:
    [form], path = arguments.format, printable(one.name)
    if form == "json":
        values = {"audio_filepath": one.name, **one.part, **found.as_json(arguments.words)}
        return printable(json.dumps(values, ensure_ascii=False)) + "\n"
    elif form != "text":
        return format_transcript(found, form, arguments.words)
    elif arguments.n_best is not None:
        # A recording that was cut into pieces has one text, without a score.
        texts = [(f"{one.score:.4f}", one.text) for one in found.n_best or ()] or [("", found.text)]
        rows = (f"{path}\t{rank}\t{score}\t{printable(text)}\n" for rank, (score, text) in enumerate(texts, 1))
        return "".join(rows)
    elif arguments.words:
        words = found.words or ()
        return "".join(f"{path}\t{w.start_s:.2f}\t{w.end_s:.2f}\t{printable(w.text)}\n" for w in words)
    return f"{path}\t{printable(found.text)}\n"


def _write(path: str, found: Transcript, form: str, words: bool) -> None:
    with atomic_write(path) as file:
        file.write(format_transcript(found, form, words))
