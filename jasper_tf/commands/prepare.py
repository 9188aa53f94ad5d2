"""python -m jasper_tf prepare: turns a corpus or a folder of recordings into manifests."""

from __future__ import annotations

import argparse
import difflib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from jasper_tf.commands._arguments import local_path
from jasper_tf.commands._runner import add_runner_arguments, describe_job, parts_folder, read_runner
from jasper_tf.data.corpora import an4, common_voice, librispeech, manifests
from jasper_tf.data.corpora.an4 import AN4, SPLITS
from jasper_tf.data.corpora.corpus_entry import Archive, CorpusEntry
from jasper_tf.data.corpora.download import download
from jasper_tf.data.corpora.folder import FolderLayout, read_folder, transcripts_without_audio
from jasper_tf.data.corpora.librispeech import LIBRISPEECH, MINI_LIBRISPEECH
from jasper_tf.data.corpora.manifests import PreparedSplit
from jasper_tf.data.corpora.speaker_split import parse_shares, split_by_group
from jasper_tf.data.corpora.unpack import archive_stem, is_archive, unpack
from jasper_tf.decoding.build_tokenizer import build_tokenizer
from jasper_tf.errors import UserError
from jasper_tf.inference.pretrained_config import load_config
from jasper_tf.io.progress import megabytes
from jasper_tf.io.validate_outputs import Output, add_overwrite_argument, validate_outputs
from jasper_tf.text.normalization import TextNormalizer

HELP = "turn a corpus (downloaded or local) or a folder of recordings into manifests"

NAMES = {
    "librispeech": "OpenSLR 12; --part names what to fetch (sizes when it is left out)",
    "mini-librispeech": "OpenSLR 31: train-clean-5, dev-clean-2; 0.5 GB",
    "an4": "CMU's alphanumeric database: train, test; 64 MB",
    "common-voice": "the folder or archive of one language, with --source: download it by hand",
    "folder": "your own recordings, with --source: a .txt beside each, or one CSV or TSV with --table",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = (
        "NAME:\n"
        + "\n".join(f"  {name:<17} {text}" for name, text in NAMES.items())
        + "\n\nExit status: 0 every recording is in a manifest; 1 some are left out: they are counted and listed with\n"
        "their reason in SPLIT_left_out.tsv, and the manifests hold the others; 2 wrong use, or nothing can be used."
    )
    add = parser.add_argument
    add("name", metavar="NAME", help=", ".join(NAMES))
    add(
        "--output", required=True, type=local_path, metavar="DIR", help="folder for SPLIT_manifest.json and the reports"
    )
    add("--source", nargs="+", type=local_path, metavar="PATH", help="local archives or folders; nothing is downloaded")
    add("--part", nargs="+", default=[], metavar="PART", help="parts of the corpus, e.g. train-clean-100 dev-clean")
    add("--base-url", metavar="URL", help="a mirror: the folder that holds the archives")
    add_overwrite_argument(parser)
    add("--threads", type=int, default=4, metavar="N", help="audio files opened at the same time (%(default)s)")
    split = parser.add_argument_group("splits (folder, an4, or a train set without a dev set)")
    add = split.add_argument
    add("--split", metavar="dev=0.1,test=0.1", help="shares of the duration of train, no speaker in two sets")
    add("--split-by", choices=("speaker", "utterance"), default="speaker", help="what stays together (%(default)s)")
    add("--seed", type=int, default=0, metavar="N", help="another seed, other speakers in each set (%(default)s)")
    table = parser.add_argument_group("folder")
    add = table.add_argument
    add(
        "--table", type=local_path, metavar="FILE", help="CSV or TSV with a header; paths relative to it or to --source"
    )
    for column in ("audio", "text", "speaker"):
        add(f"--{column}-column", metavar="NAME", help="column of the table (default: its usual names)")
    add("--speaker-from-folder", action="store_true", help="the name of a recording's folder is its speaker")
    add_runner_arguments(parser, "are read", workers=1)
    text = parser.add_argument_group("transcripts")
    add = text.add_argument
    add("--language", metavar="CODE", help="of numbers and symbols in words (en; common-voice: its own)")
    add("--case", choices=("lower", "upper", "keep"), default="lower", help="of letters (%(default)s)")
    add("--keep-punctuation", action="store_true", help="leave punctuation and symbols")
    add("--keep-numbers", action="store_true", help="leave digits")
    add("--strip-accents", action="store_true", help="é becomes e, unless the labels have it")
    add("--no-normalization", action="store_true", help="leave the texts as they are")
    add("--labels", metavar="CHARACTERS", help="the model's; others are listed, and punctuation among them stays")
    add("--config", metavar="FILE", help="take the labels from this configuration")


def run(arguments: argparse.Namespace) -> int:
    """Prints what was found, left out and changed; returns 1 if a recording was left out.

    Nothing is written unless there is an utterance in every split.
    """
    name, output = arguments.name, arguments.output
    if name not in NAMES:
        near = difflib.get_close_matches(name, NAMES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the names are {', '.join(NAMES)}"
        raise UserError(f"unknown corpus {name!r}: {hint}")
    if arguments.threads < 1:
        raise UserError(f"--threads {arguments.threads}: must be 1 or more")
    if output.exists() and not output.is_dir():
        raise UserError(f"--output {output}: is a file, give a folder")
    _validate_options(arguments)
    runner = read_runner(arguments)
    shares = parse_shares(arguments.split) if arguments.split else {}
    _text_rules(arguments)  # reports mistakes in them before anything is downloaded
    archives = _archives(arguments)
    expected = arguments.part or {"folder": ["train"], "an4": ["train", "test"]}.get(name) or archives
    nothing_left = sum(shares.values()) > 1 - 1e-9
    kept = [split for split in expected if not (nothing_left and split == "train")]
    _validate_outputs(arguments, [*kept, *shares])
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be made ({error.strerror})") from None

    recordings = _read(arguments, archives)
    normalizer, labels = _text_rules(arguments)
    parts = bool(runner.engine or arguments.work_dir or runner.workers > 1)
    job = describe_job("prepare", arguments, recordings) if parts else {}
    with parts_folder(arguments, job, output if parts else None) as place:
        splits = {
            split: manifests.prepare_split(
                split, members, normalizer, arguments.threads, runner if parts else None, place / str(number)
            )
            for number, (split, members) in enumerate(recordings.items())
        }
    for split, prepared in splits.items():
        if not prepared.utterances:
            raise UserError(f"{split}: no utterance to use: " + ("; ".join(prepared.reasons()) or "it is empty"))
    if shares:
        splits = _split_train(splits, shares, arguments)
    _validate_outputs(arguments, splits)
    try:
        written = manifests.write_manifests(output, splits)
    except OSError as error:
        raise UserError(f"--output {output}: cannot be written ({error.strerror}); no manifest was changed") from None
    print(manifests.describe(splits, labels))
    for manifest in written:
        print(manifest)
    left_out = sum(len(split.left_out) for split in splits.values())
    if left_out:
        used = sum(len(split.utterances) for split in splits.values())
        print(f"{left_out} of {left_out + used} recordings are left out: exit status 1", file=sys.stderr)
    return 1 if left_out else 0


def _validate_outputs(arguments: argparse.Namespace, splits: Iterable[str]) -> None:
    outputs = [Output("--output", path) for path in manifests.output_paths(arguments.output, splits)]
    inputs = [*(arguments.source or []), arguments.table, arguments.config]
    validate_outputs(outputs, inputs, arguments.overwrite, makes_folders=True)


def _validate_options(arguments: argparse.Namespace) -> None:
    name, sources = arguments.name, arguments.source or []
    for option in ("table", "audio_column", "text_column", "speaker_column", "speaker_from_folder"):
        if getattr(arguments, option) and name != "folder":
            raise UserError(f"--{option.replace('_', '-')}: is for `prepare folder`, {name} has a layout of its own")
    for option in ("audio_column", "text_column", "speaker_column"):
        if getattr(arguments, option) and not (arguments.table or any(path.is_file() for path in sources)):
            raise UserError(f"--{option.replace('_', '-')}: is a column of a table; give it with --table")
    if arguments.speaker_column and arguments.speaker_from_folder:
        raise UserError("--speaker-column, --speaker-from-folder: one of them")
    if name == "common-voice" and not sources:
        raise UserError(
            "common-voice: is given only to those who agree to its terms; fetch the archive of your language by "
            "hand (https://commonvoice.mozilla.org/datasets) and give it, or its folder, with --source"
        )
    if name == "folder" and not sources:
        raise UserError("folder: give the folder of recordings with --source")
    if name == "folder" and arguments.part:
        raise UserError("--part: a folder has no parts; --split makes sets out of it")
    if len(sources) > 1 and not name.endswith("librispeech"):
        raise UserError(f"--source: {len(sources)} paths; {name} takes one")
    if sources and arguments.base_url:
        raise UserError("--base-url: nothing is downloaded with --source; leave one of them out")
    for path in sources:
        if not path.exists():
            raise UserError(f"--source {path}: no such file or folder")


def _text_rules(arguments: argparse.Namespace) -> tuple[TextNormalizer | None, frozenset[str]]:
    if arguments.labels and arguments.config:
        raise UserError("--labels, --config: one of them")
    labels = frozenset(arguments.labels or "")
    if arguments.config:
        labels = build_tokenizer(load_config(arguments.config, cross_check=False)).characters
    if arguments.no_normalization:
        return None, labels
    normalizer = TextNormalizer(
        arguments.language or "en",
        case=arguments.case,
        keep_punctuation=arguments.keep_punctuation,
        keep_numbers=arguments.keep_numbers,
        strip_accents=arguments.strip_accents,
        labels=labels,
    )
    return normalizer, labels


def _archives(arguments: argparse.Namespace) -> dict[str, Archive]:
    """The archives to download, by part; none with --source."""
    name, parts = arguments.name, arguments.part
    known = {"librispeech": LIBRISPEECH, "mini-librispeech": MINI_LIBRISPEECH}.get(name)
    choices = list(known) if known else list(SPLITS)
    wrong = next((part for part in parts if part not in choices), None)
    if name != "common-voice" and wrong and not (known and arguments.source):
        near = difflib.get_close_matches(wrong, choices, n=1)
        hint = f"did you mean {near[0]}?" if near else f"the parts are {', '.join(choices)}"
        raise UserError(f"--part {wrong}: {name} has no such part; {hint}")
    if arguments.source:
        return {}
    if known is None:
        return dict(AN4)
    if name == "librispeech" and not parts:
        sizes = ", ".join(f"{part} ({megabytes(archive.size)})" for part, archive in LIBRISPEECH.items())
        raise UserError(f"librispeech: --part says what to fetch: {sizes}")
    return {part: known[part] for part in parts or known}


def _read(arguments: argparse.Namespace, archives: Mapping[str, Archive]) -> dict[str, list[CorpusEntry]]:
    name, output, table = arguments.name, arguments.output, arguments.table
    folders = []
    for part, archive in archives.items():
        place = output / part
        if not place.exists():
            base = arguments.base_url
            url = f"{base.rstrip('/')}/{archive.name}" if base else archive.url
            file = download(url, output / "downloads" / archive.name, archive.checksum)
            unpack(file, place)
        folders.append(place)
    for path in arguments.source or []:
        if path.is_dir():
            folders.append(path)
        elif is_archive(path):
            folders.append(_inner(unpack(path, output / archive_stem(path))))
        elif name == "folder" and table is None:
            folders, table = [path.parent], path
        else:
            raise UserError(f"--source {path}: is neither a folder nor an archive (.tar.gz, .tgz, .tar, .zip, ...)")
    try:
        if name == "folder":
            columns = (arguments.audio_column, arguments.text_column, arguments.speaker_column)
            if table is not None and not table.is_file() and (folders[0] / table).is_file():
                table = folders[0] / table
            layout = FolderLayout(table, *columns, arguments.speaker_from_folder)
            recordings = read_folder(folders[0], layout)
            if table is None and (alone := transcripts_without_audio(folders[0], recordings)):
                print(f".txt files without a recording: {len(alone)}; not used; first {alone[0]}")
            return {"train": recordings}
        if name == "common-voice" and arguments.language is None:
            arguments.language = common_voice.common_voice_language(folders[0])
            print(f"language: {arguments.language}")
        readers = {"an4": an4.read_an4, "common-voice": common_voice.read_common_voice}
        return readers.get(name, librispeech.read_librispeech)(folders, arguments.part)
    except OSError as error:
        raise UserError(f"{error.filename or folders[0]}: cannot be read ({error.strerror})") from None


def _inner(folder: Path) -> Path:
    """The only folder inside an unpacked one, if there is exactly one."""
    inner = [path for path in folder.iterdir() if not path.name.startswith(".")]
    return inner[0] if len(inner) == 1 and inner[0].is_dir() else folder


def _split_train(
    splits: Mapping[str, PreparedSplit], shares: dict[str, float], arguments: argparse.Namespace
) -> dict[str, PreparedSplit]:
    """Splits the set train; what was left out of it stays with train, or with the first set if no train is left."""
    if "train" not in splits:
        raise UserError(f"--split: splits a set named train; {arguments.name} has {', '.join(splits)}")
    if taken := next((name for name in shares if name in splits), None):
        raise UserError(f"--split: {arguments.name} has a set {taken} of its own; name another")
    train = splits["train"]
    groups: list[str] | list[int] = list(range(len(train.utterances)))
    if arguments.split_by == "speaker":
        unknown = [utterance.path for utterance in train.utterances if utterance.speaker is None]
        if unknown:
            raise UserError(
                f"--split: the speaker of {len(unknown)} utterances is not known ({unknown[0]}, ...); name the column "
                "(--speaker-column) or the folder (--speaker-from-folder), or split without (--split-by utterance)"
            )
        groups = [str(utterance.speaker) for utterance in train.utterances]
    names = split_by_group(groups, [utterance.duration_s for utterance in train.utterances], shares, arguments.seed)
    parts = {name: PreparedSplit() for name in ("train", *shares) if name in names}
    for name, utterance in zip(names, train.utterances, strict=True):
        parts[name].utterances.append(utterance)
    if parts:
        first = next(iter(parts.values()))
        first.left_out, first.examples = train.left_out, train.examples
    return {**parts, **{name: split for name, split in splits.items() if name != "train"}}
