"""python -m jasper_tf align: when each word and letter of known texts is said."""

from __future__ import annotations

import argparse
import functools
import json
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from jasper_tf.commands._arguments import add_model_argument, make_folder, split_formats
from jasper_tf.commands._runner import add_runner_arguments, describe_job, goes_on, parts_folder, read_runner
from jasper_tf.data.jobs.run_parts import run_parts
from jasper_tf.data.jobs.runner import Runner
from jasper_tf.data.manifest.columns import manifest_paths, read_manifest
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.errors import UserError, printable, shorten
from jasper_tf.inference.alignment.formats import (
    FORMATS,
    alignment_files,
    as_json,
    format_alignment,
    label_kind,
)
from jasper_tf.inference.inputs import Input, output_names
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.progress import Progress, clock
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, validate_outputs

if TYPE_CHECKING:  # `--help` waits for no library
    from jasper_tf.inference.alignment.long_alignment import Alignment
    from jasper_tf.inference.alignment.recording_aligner import RecordingAligner

HELP = "forced alignment: times and scores of the words of known texts, and of their letters or word pieces"

_WINDOW = 64
"""Utterances whose alignments are in memory at a time."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model_argument(parser)
    parser.add_argument(
        "--manifest",
        required=True,
        nargs="+",
        metavar="F",
        help="JSON lines in NeMo's layout with the texts, in `text` or `text_filepath` (a book's chapter)",
    )
    parser.add_argument(
        "--output",
        required=True,
        metavar="DIR",
        help="folder for alignments.jsonl, ctm/words, ctm/tokens, textgrid and srt",
    )
    parser.add_argument(
        "--format",
        type=_formats,
        default=("json",),
        metavar="F",
        help="json, ctm, textgrid, srt; several with commas (default json)",
    )
    add_overwrite_argument(parser)
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="utterances at a time (%(default)s)")
    parser.add_argument(
        "--long-s",
        type=float,
        default=180.0,
        metavar="S",
        help="recordings above this may lack words of the text, and the text words of theirs (%(default)g; 0: all)",
    )
    add_runner_arguments(parser, "load the model once per worker", workers=1)


def run(arguments: argparse.Namespace) -> int:
    """Aligns every utterance of the manifest; returns 1 if one cannot be aligned (it is named), after the others."""
    runner = read_runner(arguments)
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size {arguments.batch_size}: must be 1 or more")
    if not arguments.long_s >= 0:
        raise UserError(f"--long-s {arguments.long_s:g}: must be 0 or more")
    utterances = read_manifest(arguments.manifest, files_exist=True)
    names = output_names(Input(utterance.path) for utterance in utterances)
    forms = [form for form in arguments.format if form != "json"]
    folder = arguments.output
    planned = [
        {form: [os.path.join(folder, path) for path in alignment_files(name, form)] for form in forms} for name in names
    ]
    lines_file = os.path.join(folder, "alignments.jsonl") if "json" in arguments.format else None
    written = [path for paths in planned for group in paths.values() for path in group]
    validate_outputs(
        [Output("--output", path) for path in [*written, *([lines_file] if lines_file else [])]],
        [arguments.model, *manifest_paths(arguments.manifest)],
        arguments.overwrite or goes_on(arguments, folder),
        makes_folders=True,
    )
    for needed in {os.path.dirname(path) for path in written} | {folder}:
        make_folder("--output", needed)

    items = list(zip(utterances, names, planned, strict=True))
    failed = doubtful = words = 0
    progress = Progress("aligning", round(float(utterances.duration_s.sum())), clock)
    with ExitStack() as outputs:
        lines = outputs.enter_context(atomic_write(lines_file)) if lines_file else None
        outputs.enter_context(progress)
        for done, kept in _aligned(arguments, items, runner, progress):
            (progress.skip if kept else progress.advance)(round(done["seconds"]))
            for message in done["messages"]:
                progress.clear()
                print(message, file=sys.stderr)
            failed += done["failed"]
            words += done["words"]
            doubtful += done["doubtful"]
            if lines is not None:
                lines.write(done["line"])
    print(
        f"{words} words of {len(utterances) - failed} utterances aligned"
        + (f"  {doubtful} words doubtful" if doubtful else "")
        + (f"  {failed} utterances not aligned" if failed else "")
    )
    return 1 if failed else 0


_Item = tuple["Utterance", str, dict[str, list[str]]]
"""An utterance, the name of its files, and the files by format."""


def _aligned(
    arguments: argparse.Namespace, items: Sequence[_Item], runner: Runner, progress: Progress
) -> Iterator[tuple[dict[str, Any], bool]]:
    """For each utterance, in order: what `_align_part` returns, and whether an earlier run had it."""
    parts = [items[i : i + _WINDOW] for i in range(0, len(items), _WINDOW)]
    if not (runner.engine or arguments.work_dir or runner.workers > 1):
        for part in parts:
            for done in _align_part(arguments, part, progress):
                yield {**done, "seconds": 0.0}, False
        return
    with parts_folder(arguments, describe_job("align", arguments, items), arguments.output) as place:
        for result in run_parts(functools.partial(_align_part, arguments), parts, runner, place):
            for done in result.value:
                yield done, result.kept


def _align_part(
    arguments: argparse.Namespace, part: Sequence[_Item], progress: Progress | None = None
) -> list[dict[str, Any]]:
    """Aligns a part of the utterances and writes their files, except alignments.jsonl; what the workers call."""
    aligner = _load(arguments.model, arguments.batch_size, arguments.long_s)
    labels = label_kind(aligner.aligner.tokenizer)
    report = (lambda seconds: progress.advance(round(seconds))) if progress else None
    results = []
    for (utterance, name, planned), found in zip(part, aligner.align([one[0] for one in part], report), strict=True):
        line: dict[str, Any] = {
            "audio_filepath": utterance.path,
            "offset": utterance.offset_s,
            "duration": utterance.duration_s,
            "text": utterance.text,
        }
        messages, words, doubtful = [], 0, 0
        if isinstance(found, UserError):
            messages.append(f"error: {utterance.source}: {found}")
            line["error"] = str(found)
        else:
            line |= as_json(found, labels)
            words, doubtful = len(found.words), _report(utterance.source, found, messages)
            for form, paths in planned.items():
                contents = format_alignment(found, form, name, utterance.duration_s, labels)
                for path, content in zip(paths, contents, strict=True):
                    with atomic_write(path) as file:
                        file.write(content)
        results.append(
            {
                "line": json.dumps(line, ensure_ascii=False) + "\n",
                "messages": messages,
                "failed": "error" in line,
                "words": words,
                "doubtful": doubtful,
                "seconds": utterance.duration_s,
            }
        )
    return results


@functools.lru_cache(1)
def _load(model: str, batch_size: int, long_s: float) -> RecordingAligner:
    """Loads the model, once in a process."""
    from jasper_tf.inference.alignment.recording_aligner import RecordingAligner

    return RecordingAligner(load_recognizer(model), batch_size, long_s)


def _report(source: str, found: Alignment, messages: list[str]) -> int:
    """Adds a message for what does not match; returns the number of doubtful words."""
    from jasper_tf.inference.alignment.long_alignment import LOWEST_SCORE

    def say(message: str) -> None:
        messages.append(shorten(printable(message), 300))

    for one in found.unmatched_text:
        say(f"{source}: not said between {one.start_s:.2f} and {one.end_s:.2f} s: {one.text}")
    for start_s, end_s in found.unmatched_audio:
        say(f"{source}: no text from {start_s:.2f} to {end_s:.2f} s")
    return sum(word.score < LOWEST_SCORE for word in found.words)


def _formats(value: str) -> tuple[str, ...]:
    return split_formats(value, FORMATS)
