"""python -m jasper_tf check: finds faults in manifests and audio files before training."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Sequence
from contextlib import ExitStack, redirect_stdout

import numpy as np

from jasper_tf.commands._runner import add_runner_arguments, parts_folder, read_runner
from jasper_tf.config import Config
from jasper_tf.data.checks.audio import PART, AudioRules, check_audio
from jasper_tf.data.checks.checked_manifest import CheckedManifest
from jasper_tf.data.checks.clean_manifest import validate_clean_manifest, write_clean_manifest
from jasper_tf.data.checks.duplicates import check_duplicates
from jasper_tf.data.checks.fault_table import FAULT_TABLE
from jasper_tf.data.checks.faults import KINDS, NOTES, FaultLog
from jasper_tf.data.checks.lines import (
    ASSUMED_FRAME_S,
    ASSUMED_RATE_HZ,
    TextRules,
    assumed_rules,
    check_feasible,
    check_lines,
)
from jasper_tf.data.checks.report import summary, table
from jasper_tf.data.checks.speaking_rate import check_speaking_rate, rate_bounds, speaking_rates
from jasper_tf.data.jobs.runner import Runner
from jasper_tf.data.manifest.columns import manifest_paths
from jasper_tf.data.manifest.filter import UnknownCharacters
from jasper_tf.data.manifest.sections import data_key, data_sets
from jasper_tf.data.storage.tar_index import TarIndex, expand_tar_paths
from jasper_tf.decoding.build_tokenizer import build_tokenizer
from jasper_tf.errors import UserError, printable
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.progress import Progress, megabytes
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, report_stream, validate_outputs

HELP = "find what is wrong in manifests and audio files: a table by kind, a list, a manifest without the faulty lines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "Exit status: 0 nothing is wrong, 1 faults were found, 2 wrong use.\n\n" + FAULT_TABLE
    parser.add_argument("--config", metavar="C", help="its data sections are checked, against its labels and encoder")
    parser.add_argument("--manifest", nargs="+", metavar="F", help="these manifests are checked, in place of C's own")
    parser.add_argument("--held-out", nargs="+", metavar="F", help="their recordings must not be in --manifest: leak")
    parser.add_argument(
        "--labels", metavar="CHARACTERS", help="the model's, without --config: texts must have no other characters"
    )
    parser.add_argument("--audio", action="store_true", help="read every audio file as well")
    parser.add_argument("--list", metavar="FILE", help="write each fault as a JSON line: manifest, line, kind, detail")
    parser.add_argument(
        "--write-clean",
        metavar="FILE",
        help="write the lines without a fault, byte for byte; with --config alone those of train_ds",
    )
    parser.add_argument(
        "--picture", metavar="FILE.png", help="draw how long utterances are and how fast they are spoken"
    )
    add_overwrite_argument(parser)
    parser.add_argument("--ignore", action="append", default=[], metavar="KIND", help="report it, but as no fault")
    parser.add_argument(
        "--min-rate", type=float, metavar="R", help="fewest characters per second (default: from the corpus)"
    )
    parser.add_argument("--max-rate", type=float, metavar="R", help="most characters per second (from the corpus)")
    parser.add_argument(
        "--tolerance",
        type=float,
        default=0.5,
        metavar="S",
        help="seconds between declared and real length (%(default)s)",
    )
    parser.add_argument(
        "--silence",
        type=float,
        default=-60.0,
        metavar="DB",
        help="level that the loudest 20 ms must reach (%(default)s)",
    )
    parser.add_argument(
        "--max-clipped", type=float, default=0.001, metavar="SHARE", help="of samples at full scale (%(default)s)"
    )
    add_runner_arguments(parser, "of --audio")
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of C, such as model.train_ds.manifest_filepath=F"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when nothing is wrong, 1 when there are faults."""
    with redirect_stdout(report_stream([arguments.list, arguments.write_clean, arguments.picture])):
        return _run(arguments)


def _run(arguments: argparse.Namespace) -> int:
    _validate_arguments(arguments)
    runner = read_runner(arguments, work_dir=True)
    cfg, sets = _sets(arguments)
    outputs = {"--list": arguments.list, "--write-clean": arguments.write_clean, "--picture": arguments.picture}
    validate_outputs(
        [Output(key, path, "png" if key == "--picture" else "text") for key, path in outputs.items() if path],
        [arguments.config, *(path for paths in sets.values() for path in paths)],
        arguments.overwrite,
    )
    manifests = {}
    for name, paths in sets.items():
        tars = _tars(arguments, cfg, name)
        manifests[name] = [CheckedManifest(path, tars) for path in paths]
    every = [manifest for group in manifests.values() for manifest in group]
    first = next(iter(manifests))
    training = manifests.get("train_ds", [])
    held_out = [manifest for name, group in manifests.items() if name != "train_ds" for manifest in group]
    with ExitStack() as files:
        listed = files.enter_context(atomic_write(arguments.list)) if arguments.list else None
        log = FaultLog(listed, NOTES | set(arguments.ignore))
        of_labels = assumed_rules(arguments.labels) if arguments.labels else None
        rules_of = {name: _text_rules(cfg, name) if cfg else of_labels for name in manifests}
        with Progress("reading lines", sum(manifest.file.size for manifest in every), megabytes) as progress:
            for name, group in manifests.items():
                rules = rules_of[name]
                for manifest in group:
                    check_lines(manifest, log, rules, progress)
                    if len(manifest):
                        check_feasible(manifest, log, rules or assumed_rules(sorted({" ", *manifest.alphabet})))
        if arguments.write_clean:
            validate_clean_manifest(arguments.write_clean, manifests[first])
        rates = _check_rates(arguments, every, log)
        _check_repeats(training, held_out, log)
        if arguments.audio:
            content = _check_audio(arguments, cfg, manifests, log, runner)
            _check_repeats(training, held_out, log, content)
    alphabet = "".join(sorted(set().union(*(manifest.alphabet for manifest in every))))
    characters = f"characters: {printable(repr(alphabet))}"
    for line in [*summary(every, log), rates, characters, *_not_checked(arguments, cfg)]:
        print(line)
    if log.tallies:
        print(table(log))
    if arguments.list:
        print(f"each fault: {printable(arguments.list)}")
    if arguments.write_clean:
        written, left_out = write_clean_manifest(arguments.write_clean, manifests[first], log)
        print(f"{printable(arguments.write_clean)}: {written} lines without a fault, {left_out} left out")
    return 1 if log.found else 0


def _validate_arguments(arguments: argparse.Namespace) -> None:
    if not arguments.config and not arguments.manifest:
        raise UserError("nothing to check: give --config C or --manifest F")
    if arguments.held_out and not arguments.manifest:
        raise UserError("--held-out: is compared with --manifest; --config alone compares its own sets")
    if arguments.labels and arguments.config:
        raise UserError("--labels, --config: one of them; a configuration has labels")
    if arguments.overrides and not arguments.config:
        raise UserError(f"{arguments.overrides[0]}: key=value changes a configuration; give --config as well")
    for kind in arguments.ignore:
        if kind not in KINDS:
            raise UserError(f"--ignore {kind!r}: no such kind; the kinds are {', '.join(KINDS)}")
    low, high = arguments.min_rate, arguments.max_rate
    if low is not None and high is not None and low > high:
        raise UserError(f"--min-rate {low:g} is above --max-rate {high:g}")
    if arguments.tolerance < 0:
        raise UserError(f"--tolerance {arguments.tolerance:g}: must be 0 seconds or more")
    if not 0 <= arguments.max_clipped <= 1:
        raise UserError(f"--max-clipped {arguments.max_clipped:g}: must be a share between 0 and 1")
    if (arguments.runner or arguments.work_dir) and not arguments.audio:
        option = "--runner" if arguments.runner else "--work-dir"
        raise UserError(f"{option}: is for reading audio, which takes long; add --audio, or leave it out")
    if arguments.picture and not arguments.picture.lower().endswith(".png"):
        raise UserError(f"--picture {arguments.picture}: is drawn as PNG; give a name that ends in .png")


def _sets(arguments: argparse.Namespace) -> tuple[Config | None, dict[str, list[str]]]:
    """The configuration, and the manifests by section, train_ds first; `--manifest` replaces it."""
    cfg: Config | None = None
    if arguments.config:
        cfg = load_config(arguments.config, arguments.overrides)
        cfg.require(cfg.model.labels_key, "model.preprocessor", "model.encoder")
    if arguments.manifest:
        sets = {"train_ds": manifest_paths(arguments.manifest)}
        if arguments.held_out:
            sets["validation_ds"] = manifest_paths(arguments.held_out)
        return cfg, sets
    assert cfg is not None
    sections = [name for name in ("train_ds", "validation_ds", "test_ds") if getattr(cfg.model, name) is not None]
    if not sections:
        raise UserError(f"{cfg.source}: no data section; give model.train_ds a manifest_filepath")
    cfg.require(*(data_key(cfg, name) for name in sections))
    sets = {}
    held_out: set[str] = set()
    for name in sections:
        dataset = getattr(cfg.model, name)
        paths = [path for group in data_sets(dataset).values() for path in group]
        # One manifest may serve validation and test.
        sets[name] = paths if name == "train_ds" else [path for path in paths if path not in held_out]
        held_out |= set(paths) if name != "train_ds" else set()
    return cfg, sets


def _tars(arguments: argparse.Namespace, cfg: Config | None, section: str) -> TarIndex | None:
    dataset = getattr(cfg.model, section) if cfg and not arguments.manifest else None
    if dataset is None or not dataset.is_tarred:
        return None
    return TarIndex(expand_tar_paths(dataset.tarred_audio_filepaths or []))


def _text_rules(cfg: Config, section: str) -> TextRules:
    from jasper_tf.model.frames import encoder_frames

    dataset = getattr(cfg.model, section)
    unknown: UnknownCharacters = dataset.unknown_characters if dataset else "error"
    return TextRules(build_tokenizer(cfg), encoder_frames(cfg, section), unknown)


def _check_rates(arguments: argparse.Namespace, manifests: Sequence[CheckedManifest], log: FaultLog) -> str:
    """Checks the speaking rates and draws the picture; returns a line for the report."""
    rates = np.concatenate([speaking_rates(manifest) for manifest in manifests])
    bounds = rate_bounds(rates, arguments.min_rate, arguments.max_rate)
    check_speaking_rate(manifests, log, bounds)
    if arguments.picture:
        from jasper_tf.plots.histograms import draw_histograms

        duration_s = np.concatenate([np.array(manifest.duration_s) for manifest in manifests])
        with atomic_write(arguments.picture, binary=True) as file:
            draw_histograms(file, duration_s, rates, bounds)
    low, high = ("any" if bound is None else f"{bound:.3g}" for bound in (bounds.low, bounds.high))
    return f"speaking rate: median {bounds.median:.3g} characters a second, accepted {low} to {high}"


def _check_repeats(
    training: Sequence[CheckedManifest],
    held_out: Sequence[CheckedManifest],
    log: FaultLog,
    content: Sequence[np.ndarray] | None = None,
) -> None:
    what = "the same part of the same file" if content is None else "the same samples"
    check_duplicates(training, held_out, log, content, what)


def _check_audio(
    arguments: argparse.Namespace,
    cfg: Config | None,
    manifests: dict[str, list[CheckedManifest]],
    log: FaultLog,
    runner: Runner,
) -> list[np.ndarray]:
    """For each manifest, [utterances] uint64 that are equal for equal samples."""
    every = [manifest for group in manifests.values() for manifest in group]
    if any(manifest.tarred for manifest in every) and (runner.engine or arguments.work_dir):
        raise UserError("--runner, --work-dir: recordings in tar files are read on one machine; leave them out")
    rules = {}
    for name in manifests:
        dataset = getattr(cfg.model, name) if cfg else None
        rules[name] = AudioRules(
            cfg.model.sample_rate if cfg else ASSUMED_RATE_HZ,
            arguments.tolerance,
            arguments.silence,
            arguments.max_clipped,
            dataset.channel_selector if dataset else "average",
        )
    job = {
        "verb": "check",
        "manifest": [manifest.identity() for manifest in every],
        "options": [dataclasses.astuple(one) for one in rules.values()],
    }
    total_ms = round(1000 * sum(sum(manifest.duration_s) for manifest in every))
    content: list[np.ndarray] = []
    with (
        parts_folder(arguments, job) as folder,
        Progress("reading audio", total_ms, lambda ms: f"{ms / 3_600_000:.2f} h") as progress,
    ):
        for name, group in manifests.items():
            for manifest in group:
                # Processes take a moment to start.
                alone = manifest.tarred or not (runner.engine or arguments.work_dir or len(manifest) > PART)
                place = None if alone else folder / str(len(content))
                content.append(check_audio(manifest, log, rules[name], progress, runner, place))
    return content


def _not_checked(arguments: argparse.Namespace, cfg: Config | None) -> list[str]:
    lines = []
    if not cfg:
        lines.append(
            f"assumed: a model of {ASSUMED_RATE_HZ} Hz and frames of {1000 * ASSUMED_FRAME_S:g} ms, such as Jasper and "
            "QuartzNet; --config takes your own"
        )
        if not arguments.labels:
            lines.append("not checked: characters outside labels; give --labels or --config")
    if arguments.manifest and not arguments.held_out:
        lines.append("not checked: leak; give --held-out, or --config without --manifest")
    if not arguments.audio:
        lines.append("not read: the audio files; --audio reads them")
    return lines
