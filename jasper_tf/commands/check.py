"""python -m jasper_tf check: what is wrong in a corpus, before a training stumbles over it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from contextlib import ExitStack
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from jasper_tf.config import Config
    from jasper_tf.data.checks.faults import FaultLog
    from jasper_tf.data.checks.lines import CheckedManifest, TextRules

FAULT_TABLE = ""

HELP = "find what is wrong in manifests and sound files: a table by kind, a list, a manifest without the faulty lines"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "Exit status: 0 nothing is wrong, 1 faults were found, 2 wrong use.\n\n" + FAULT_TABLE
    parser.add_argument("--config", metavar="C", help="its data sections are checked, against its labels and encoder")
    parser.add_argument("--manifest", nargs="+", metavar="F", help="these manifests are checked, in place of C's own")
    parser.add_argument("--audio", action="store_true", help="read every sound file as well")
    parser.add_argument("--list", metavar="FILE", help="write each fault as a JSON line: manifest, line, kind, detail")
    parser.add_argument(
        "--write-clean",
        metavar="FILE",
        help="write the lines without a fault, byte for byte; with --config alone those of train_ds",
    )
    parser.add_argument(
        "--picture", metavar="FILE.png", help="draw how long utterances are and how fast they are spoken"
    )
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
        "--silence", type=float, default=-60.0, metavar="DB", help="the loudest 20 ms of a sound reach it (%(default)s)"
    )
    parser.add_argument(
        "--max-clipped", type=float, default=0.001, metavar="SHARE", help="of samples at full scale (%(default)s)"
    )
    parser.add_argument(
        "overrides", nargs="*", metavar="key=value", help="of C, such as model.train_ds.manifest_filepath=F"
    )


def run(arguments: argparse.Namespace) -> int:
    """0 when nothing is wrong, 1 when there are faults."""
    from jasper_tf.data.checks.clean_manifest import refuse_clean_manifest, write_clean_manifest
    from jasper_tf.data.checks.faults import NOTES, FaultLog
    from jasper_tf.data.checks.lines import CheckedManifest, check_feasible, check_lines
    from jasper_tf.data.checks.progress import CheckProgress
    from jasper_tf.data.checks.report import summary, table
    from jasper_tf.whole_file import write_whole

    _refuse_wrong_use(arguments)
    if arguments.write_clean:
        refuse_clean_manifest(arguments.write_clean)
    cfg, sets = _sets(arguments)
    manifests = {name: [CheckedManifest(path) for path in paths] for name, paths in sets.items()}
    every = [manifest for group in manifests.values() for manifest in group]
    first, *rest = manifests
    with ExitStack() as outputs:
        listed = outputs.enter_context(write_whole(arguments.list)) if arguments.list else None
        log = FaultLog(listed, NOTES | set(arguments.ignore))
        progress = CheckProgress("reading lines", sum(manifest.size for manifest in every))
        for name, group in manifests.items():
            rules = _text_rules(cfg, name) if cfg else None
            for manifest in group:
                check_lines(manifest, log, rules, progress)
                if rules and len(manifest):
                    check_feasible(manifest, log, rules)
        progress.end()
        if arguments.write_clean:
            refuse_clean_manifest(arguments.write_clean, manifests[first])
        rates = _check_rates(arguments, every, log)
        held_out = [manifest for name in rest for manifest in manifests[name]]
        _check_repeats(manifests[first], held_out, log)
        if arguments.audio:
            content = _check_sounds(arguments, cfg, manifests, log)
            _check_repeats(manifests[first], held_out, log, content)
    for line in [*summary(every, log), rates, *_not_checked(arguments, cfg)]:
        print(line)
    if log.tallies:
        print(table(log))
    if arguments.list:
        print(f"each fault: {arguments.list}")
    if arguments.write_clean:
        written, left_out = write_clean_manifest(arguments.write_clean, manifests[first], log)
        print(f"{arguments.write_clean}: {written} lines without a fault, {left_out} left out")
    return 1 if log.found else 0


def _refuse_wrong_use(arguments: argparse.Namespace) -> None:
    from jasper_tf.data.checks.faults import KINDS
    from jasper_tf.errors import UserError

    if not arguments.config and not arguments.manifest:
        raise UserError("nothing to check: give --config C or --manifest F")
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
    if arguments.picture and not arguments.picture.lower().endswith(".png"):
        raise UserError(f"--picture {arguments.picture}: is drawn as PNG; give a name that ends in .png")


def _sets(arguments: argparse.Namespace) -> tuple[Config | None, dict[str, list[str]]]:
    """The configuration, and the manifests by section; the first section is what a model is trained on."""
    from jasper_tf.data.manifest import manifest_paths
    from jasper_tf.errors import UserError

    cfg = None
    if arguments.config:
        from jasper_tf.config import load_config

        cfg = load_config(arguments.config, arguments.overrides)
    if arguments.manifest:
        return cfg, {"train_ds": manifest_paths(arguments.manifest)}
    assert cfg is not None
    sections = [name for name in ("train_ds", "validation_ds", "test_ds") if getattr(cfg.model, name) is not None]
    if not sections:
        raise UserError(f"{cfg.source}: no data section; give model.train_ds a manifest_filepath")
    cfg.require(*(f"model.{name}.manifest_filepath" for name in sections))
    sets, held_out = {}, set()
    for name in sections:
        paths = manifest_paths(getattr(cfg.model, name).manifest_filepath)
        # One manifest may serve validation and test.
        sets[name] = paths if name == "train_ds" else [path for path in paths if path not in held_out]
        held_out |= set(paths) if name != "train_ds" else set()
    return cfg, sets


def _text_rules(cfg: Config, section: str) -> TextRules:
    from jasper_tf.data.checks.lines import TextRules
    from jasper_tf.text.vocabulary import Vocabulary
    from jasper_tf.training.encoder_frames import encoder_frames

    dataset = getattr(cfg.model, section)
    unknown = dataset.unknown_characters if dataset else "error"
    return TextRules(Vocabulary(cfg.model.labels), encoder_frames(cfg, section), unknown)


def _check_rates(arguments: argparse.Namespace, manifests: Sequence[CheckedManifest], log: FaultLog) -> str:
    """What is said of the speaking rates; the picture is drawn here."""
    import numpy as np

    from jasper_tf.data.checks.speaking_rate import check_speaking_rate, rate_bounds, speaking_rates
    from jasper_tf.whole_file import write_whole

    rates = np.concatenate([speaking_rates(manifest) for manifest in manifests])
    bounds = rate_bounds(rates, arguments.min_rate, arguments.max_rate)
    check_speaking_rate(manifests, log, bounds)
    if arguments.picture:
        from jasper_tf.data.checks.histograms import draw_histograms

        duration_s = np.concatenate([np.array(manifest.duration_s) for manifest in manifests])
        with write_whole(arguments.picture, binary=True) as file:
            draw_histograms(file, duration_s, rates, bounds)
    low, high = ("any" if bound is None else f"{bound:.3g}" for bound in (bounds.low, bounds.high))
    return f"speaking rate: median {bounds.median:.3g} characters a second, accepted {low} to {high}"


def _check_repeats(
    training: Sequence[CheckedManifest],
    held_out: Sequence[CheckedManifest],
    log: FaultLog,
    content: Sequence[np.ndarray] | None = None,
) -> None:
    from jasper_tf.data.checks.duplicates import check_duplicates

    what = "the same part of the same file" if content is None else "the same samples"
    check_duplicates(training, held_out, log, content, what)


def _check_sounds(
    arguments: argparse.Namespace, cfg: Config | None, manifests: dict[str, list[CheckedManifest]], log: FaultLog
) -> list[np.ndarray]:
    """For each manifest, [N] uint64 that are equal for equal samples."""
    from jasper_tf.data.checks.progress import CheckProgress
    from jasper_tf.data.checks.sounds import SoundRules, check_sounds

    progress = CheckProgress("reading sound", sum(sum(m.duration_s) for group in manifests.values() for m in group))
    content = []
    for name, group in manifests.items():
        dataset = getattr(cfg.model, name) if cfg else None
        rules = SoundRules(
            cfg.model.sample_rate if cfg else None,
            arguments.tolerance,
            arguments.silence,
            arguments.max_clipped,
            dataset.channel_selector if dataset else "average",
        )
        content += [check_sounds(manifest, log, rules, progress) for manifest in group]
    progress.end()
    return content


def _not_checked(arguments: argparse.Namespace, cfg: Config | None) -> list[str]:
    lines = []
    if not cfg:
        lines.append(
            "not checked, for want of --config: characters outside labels, infeasible for CTC, wrong rate, leak"
        )
    elif arguments.manifest:
        lines.append("not checked, for --manifest is one set: leak")
    if not arguments.audio:
        lines.append("not read: the sound files; --audio reads them")
    return lines
