"""python -m jasper_tf evaluate: word and character error rate of a model on a manifest."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np

from jasper_tf.audio.load import ChannelSelector
from jasper_tf.commands._arguments import add_model_argument
from jasper_tf.commands._decoding import (
    DecodingOptions,
    add_decoding_arguments,
    describe,
    plain_section,
    split_overrides,
)
from jasper_tf.data.manifest.columns import manifest_paths, read_manifest
from jasper_tf.data.storage.tar_index import TarIndex, expand_tar_paths
from jasper_tf.errors import UserError, printable
from jasper_tf.inference.audio_settings import AudioSettings, read_audio_settings
from jasper_tf.inference.evaluation.evaluate import evaluate, prediction_lines
from jasper_tf.inference.evaluation.report import as_json, as_text
from jasper_tf.inference.load_model import load_recognizer
from jasper_tf.inference.long_audio import Chunking
from jasper_tf.inference.model_path import require_model_path
from jasper_tf.inference.transcriber import Transcriber
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, report_stream, validate_outputs

HELP = "word and character error rate of a model on a manifest, its worst utterances and most frequent errors"
INTERMIXED = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Exit status: 0 every recording was scored; 1 some cannot be read: they are named and counted, the others "
        "scored; 2 a mistake in the command, the model or the manifest."
    )
    add_model_argument(parser)
    parser.add_argument(
        "--manifest", required=True, nargs="+", metavar="F", help="JSON lines in NeMo's layout, or a folder of shards"
    )
    parser.add_argument(
        "--tarred-audio-filepaths",
        nargs="+",
        metavar="TAR",
        help="tar files that hold the recordings, NeMo's patterns (audio__OP_0..7_CL_.tar) allowed",
    )
    parser.add_argument(
        "--channel-selector",
        type=_channel,
        metavar="C",
        help="average, or the number of a channel (default: of the model's validation_ds, or else test_ds)",
    )
    parser.add_argument(
        "--trim-silence",
        action=argparse.BooleanOptionalAction,
        help="cut off silence at both ends (default: as --channel-selector)",
    )
    parser.add_argument(
        "--output",
        metavar="FILE",
        help="write one JSON line per utterance, with text and pred_text, and n_best if asked for",
    )
    parser.add_argument(
        "--json", metavar="FILE", help="write the report as JSON, with the worst utterances and the confusions"
    )
    parser.add_argument(
        "--html", metavar="FILE.html", help="write the report as a page: every error marked, and recordings to play"
    )
    add_overwrite_argument(parser)
    add_decoding_arguments(parser)
    parser.add_argument("--batch-size", type=int, default=16, metavar="N", help="utterances at a time (%(default)s)")
    parser.add_argument(
        "--chunk-s",
        type=float,
        default=40.0,
        metavar="S",
        help="longer utterances are recognized in pieces (%(default)g; 0: never, as in the validation of a training)",
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="decoding.KEY=value", help="changes the decoding section of the model"
    )


def run(arguments: argparse.Namespace) -> int:
    """Scores every utterance of the manifest once; returns 1 if one cannot be read (it is named, and not scored)."""
    if arguments.batch_size < 1:
        raise UserError(f"--batch-size {arguments.batch_size}: must be 1 or more")
    manifests, tars, overrides = _take_overrides(arguments)
    decoding = DecodingOptions(arguments, overrides)
    require_model_path(arguments.model, exports=True)
    chunking = Chunking(arguments.chunk_s, overlap_s=min(Chunking.overlap_s, arguments.chunk_s / 10))
    tar_paths = expand_tar_paths(tars) if tars else []
    paths = {f"--{key}": path for key in ("output", "json", "html") if (path := getattr(arguments, key))}
    model_files = [Path(arguments.model, name) for name in ("", "model.keras", "config.yaml")]
    validate_outputs(
        [Output(option, path) for option, path in paths.items()],
        [*model_files, *manifest_paths(manifests), *tar_paths, *decoding.files],
        arguments.overwrite,
    )
    utterances = read_manifest(manifests, TarIndex(tar_paths) if tar_paths else None, files_exist=True)

    from jasper_tf.inference.evaluation.page import write_page

    model = load_recognizer(arguments.model)
    audio = _audio_settings(arguments)
    _say(
        f"audio: channel_selector {audio.channel_selector}, trim_silence {str(audio.trim_silence).lower()} "
        f"({audio.source})"
    )
    config = decoding.apply(model.decoding_config)
    _say(f"decoding: {describe(config)}")
    cut = int(np.sum(utterances.duration_s > chunking.chunk_s)) if chunking.chunk_s else 0
    if cut:
        _say(f"{cut} utterances above {chunking.chunk_s:g} s are recognized in pieces; --chunk-s 0 prevents it")
    transcriber = Transcriber(
        model,
        chunking,
        config if decoding.given else None,
        batch_size=arguments.batch_size,
        channel_selector=audio.channel_selector,
        trim_silence=audio.trim_silence,
    )
    with ExitStack() as outputs:
        files = {option: outputs.enter_context(atomic_write(path)) for option, path in paths.items()}
        found = evaluate(transcriber, utterances, _say)
        settings = {
            "channel_selector": audio.channel_selector,
            "trim_silence": audio.trim_silence,
            "decoding": plain_section(config),
        }
        if file := files.get("--output"):
            lines = prediction_lines(found, utterances)
            file.writelines(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
        if file := files.get("--json"):
            json.dump(as_json(found, settings), file, ensure_ascii=False, indent=1)
            file.write("\n")
        if file := files.get("--html"):
            _say(write_page(file, found, transcriber, arguments.model, ", ".join(manifests)))
    print(as_text(found), file=report_stream(paths.values()))
    return 1 if found.unreadable else 0


def _take_overrides(arguments: argparse.Namespace) -> tuple[list[str], list[str], list[str]]:
    """The manifests, the tar files, and the overrides, which may stand behind either."""
    overrides, others = split_overrides(arguments.overrides)
    if others:
        raise UserError(f"{others[0]}: is not of the form decoding.KEY=value; name manifests behind --manifest")
    behind, manifests = split_overrides(arguments.manifest)
    more, tars = split_overrides(arguments.tarred_audio_filepaths or [])
    if not manifests:
        raise UserError("--manifest: names no manifest; give one")
    return manifests, tars, [*overrides, *behind, *more]


def _channel(text: str) -> ChannelSelector:
    if text == "average":
        return "average"
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is neither average nor the number of a channel")


def _audio_settings(arguments: argparse.Namespace) -> AudioSettings:
    """The settings of the model's configuration, where no option replaces them."""
    given = {
        key: value for key in ("channel_selector", "trim_silence") if (value := getattr(arguments, key)) is not None
    }
    if len(given) == 2:
        return AudioSettings(**given, source="command line")
    found = read_audio_settings(arguments.model)
    options = "".join(f"; --{key.replace('_', '-')}" for key in given)
    return replace(found, **given, source=found.source + options)


def _say(message: str) -> None:
    print(printable(message), file=sys.stderr, flush=True)
