"""Turns the recordings of a corpus into manifests, with tables of what is left out and which texts are changed."""

from __future__ import annotations

import csv
import functools
import json
import os
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from jasper_tf.audio.load import audio_duration_s
from jasper_tf.data.corpora.corpus_entry import CorpusEntry
from jasper_tf.data.jobs.run_parts import run_parts
from jasper_tf.data.jobs.runner import Runner
from jasper_tf.errors import AudioError
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.progress import Progress
from jasper_tf.io.thread_pool import map_in_order
from jasper_tf.text.normalization import TextNormalizer

LEFT_OUT, TEXT_CHANGES = "left_out.tsv", "text_changes.tsv"
_PART = 4096
"""Recordings that are a unit of work."""
_AHEAD = 256
"""Headers that may be read before their texts are normalized: one slow file does not stop the threads."""


@dataclass(frozen=True, slots=True)
class PreparedUtterance:
    """A line of a manifest, the text it was, and the kinds of its changes in their order."""

    path: Path
    duration_s: float
    text: str
    speaker: str | None
    original: str
    kinds: tuple[str, ...] = ()


@dataclass
class PreparedSplit:
    """The utterances of a split, in the corpus's order, and (path, reason) of each that is left out.

    A reason is "kind" or "kind: detail". `examples` has one change of each kind, for the report.
    """

    utterances: list[PreparedUtterance] = field(default_factory=list)
    left_out: list[tuple[Path, str]] = field(default_factory=list)
    examples: dict[str, str] = field(default_factory=dict)

    def reasons(self) -> list[str]:
        """A line for each kind of reason: how many, and the first."""
        kinds: dict[str, list[tuple[Path, str]]] = {}
        for path, reason in self.left_out:
            kinds.setdefault(reason.partition(":")[0], []).append((path, reason))
        return [
            f"left out {len(members)}: {kind}; first {members[0][0]}{members[0][1].removeprefix(kind)}"
            for kind, members in kinds.items()
        ]


def prepare_split(
    name: str,
    recordings: Sequence[CorpusEntry],
    normalizer: TextNormalizer | None,
    threads: int,
    runner: Runner | None = None,
    folder: Path | None = None,
) -> PreparedSplit:
    """Reads the duration of every recording from its header, in parallel, and normalizes every transcript.

    Args:
        name: the split's, for the progress display.
        recordings: as a corpus gives them.
        normalizer: of the texts; None leaves them as they are, but for white space at the ends.
        threads: files that are opened at the same time.
        runner: prepares parts of the split. Default: this process.
        folder: of `work_folder`, with a runner.
    """
    split = PreparedSplit()
    with Progress(f"{name}: reading headers", len(recordings)) as progress:
        if runner is None or folder is None:
            return _prepare(recordings, normalizer, threads, progress)
        parts = [recordings[i : i + _PART] for i in range(0, len(recordings), _PART)]
        function = functools.partial(prepare_part, normalizer, threads)
        for part, found in zip(parts, run_parts(function, parts, runner, folder), strict=True):
            (progress.skip if found.kept else progress.advance)(len(part))
            for path, duration_s, text, speaker, original, kinds in found.value["utterances"]:
                split.utterances.append(
                    PreparedUtterance(Path(path), duration_s, text, speaker, original, tuple(kinds))
                )
            split.left_out += [(Path(path), reason) for path, reason in found.value["left_out"]]
            split.examples = {**found.value["examples"], **split.examples}
    return split


def prepare_part(normalizer: TextNormalizer | None, threads: int, part: Sequence[CorpusEntry]) -> dict[str, Any]:
    """A part of a split as plain values; what the workers call."""
    split = _prepare(part, normalizer, threads)
    return {
        "utterances": [
            (str(one.path), one.duration_s, one.text, one.speaker, one.original, one.kinds) for one in split.utterances
        ],
        "left_out": [(str(path), reason) for path, reason in split.left_out],
        "examples": split.examples,
    }


def _prepare(
    recordings: Sequence[CorpusEntry], normalizer: TextNormalizer | None, threads: int, progress: Progress | None = None
) -> PreparedSplit:
    split = PreparedSplit()
    measured = map_in_order(_measure, recordings, threads, _AHEAD)
    for recording, (duration_s, trouble) in zip(recordings, measured, strict=True):
        if progress:
            progress.advance()
        original = (recording.text or "").strip()
        normalized = normalizer(original) if normalizer and not trouble else None
        text = normalized.text if normalized else original
        if not trouble and not text:
            trouble = f"no text after normalization: {original}" if original else "empty transcript"
        if trouble:
            split.left_out.append((recording.path, trouble))
            continue
        changes = normalized.changes if normalized else ()
        for kind, before, after in changes:
            if kind not in split.examples:
                split.examples[kind] = "{!r} -> {!r}".format(*_difference(before, after))
        kinds = tuple(dict.fromkeys(kind for kind, _, _ in changes))
        split.utterances.append(PreparedUtterance(recording.path, duration_s, text, recording.speaker, original, kinds))
    return split


def _measure(recording: CorpusEntry) -> tuple[float, str]:
    """The duration in seconds, or why it cannot be used."""
    if recording.trouble:
        return 0.0, f"unreadable entry: {recording.trouble}"
    if recording.text is None:
        return 0.0, "no transcript"
    if not os.path.isfile(recording.path):
        return 0.0, "no such audio file"
    try:
        duration_s = audio_duration_s(recording.path)
    except AudioError as error:
        return 0.0, f"unreadable audio: {error.detail.partition(';')[0]}"
    return duration_s, "" if duration_s > 0 else "audio without a sample"


def output_paths(folder: Path, splits: Iterable[str]) -> list[Path]:
    """Every file that `write_manifests` may write for these splits."""
    return [folder / f"{split}_{name}" for split in splits for name in ("manifest.json", TEXT_CHANGES, LEFT_OUT)]


def write_manifests(folder: Path, splits: Mapping[str, PreparedSplit]) -> list[Path]:
    """Writes SPLIT_manifest.json, SPLIT_text_changes.tsv and SPLIT_left_out.tsv; none appears before all are written.

    A line has `audio_filepath`, relative to the manifest or absolute, whichever is shorter, `duration` in seconds as
    exact as a float64 is, `text`, and `speaker` where it is known. SPLIT_text_changes.tsv has audio_filepath, kinds,
    before, after of each text that was changed; SPLIT_left_out.tsv has audio_filepath, reason.

    Returns:
        The manifests.

    Raises:
        UserError: the folder cannot be written to.
    """
    manifests = []
    # Resolved: a relative path through a linked folder leads elsewhere.
    base = folder.resolve()

    @functools.lru_cache
    def named_folder(path: Path) -> Path:
        resolved = path.resolve()
        return min(Path(os.path.relpath(resolved, base)), resolved, key=lambda one: len(str(one)))

    def named(path: Path) -> str:
        return (named_folder(path.parent) / path.name).as_posix()

    with ExitStack() as files:

        def table(name: str, *columns: str) -> Callable[[Sequence[str]], object]:
            file = files.enter_context(atomic_write(folder / name))
            writer = csv.writer(file, delimiter="\t", lineterminator="\n")
            writer.writerow(columns)
            return writer.writerow

        for name, split in splits.items():
            manifests.append(folder / f"{name}_manifest.json")
            manifest = files.enter_context(atomic_write(manifests[-1]))
            write_left_out = table(f"{name}_{LEFT_OUT}", "audio_filepath", "reason")
            write_change = table(f"{name}_{TEXT_CHANGES}", "audio_filepath", "kinds", "before", "after")
            for path, reason in split.left_out:
                write_left_out((named(path), reason))
            for utterance in split.utterances:
                where = named(utterance.path)
                line = {"audio_filepath": where, "duration": utterance.duration_s, "text": utterance.text}
                if utterance.speaker is not None:
                    line["speaker"] = utterance.speaker
                manifest.write(json.dumps(line, ensure_ascii=False) + "\n")
                if utterance.text != utterance.original:
                    write_change((where, ", ".join(utterance.kinds), utterance.original, utterance.text))
    return manifests


def describe(splits: Mapping[str, PreparedSplit], labels: frozenset[str]) -> str:
    """Formats the report: splits, what was left out, text changes by kind, characters and `labels`."""
    lines = []
    for name, split in splits.items():
        hours = sum(utterance.duration_s for utterance in split.utterances) / 3600
        speakers = {utterance.speaker for utterance in split.utterances} - {None}
        spoken = f", {len(speakers)} speaker{'s' * (len(speakers) > 1)}" if speakers else ""
        count = len(split.utterances)
        lines.append(f"{name}: {count} utterance{'s' * (count != 1)}, {hours:.2f} h{spoken}")
        lines += [f"  {reason}" for reason in split.reasons()]
        if split.left_out:
            lines.append(f"  each in {name}_{LEFT_OUT}")
    utterances = [utterance for split in splits.values() for utterance in split.utterances]
    examples = {kind: example for split in splits.values() for kind, example in split.examples.items()}
    return "\n".join([*lines, *_describe_changes(utterances, examples), *_describe_characters(utterances, labels)])


def _describe_changes(utterances: Sequence[PreparedUtterance], examples: Mapping[str, str]) -> list[str]:
    counts = Counter(kind for utterance in utterances for kind in utterance.kinds)
    if not counts:
        return ["text changes: none"]
    changed = sum(utterance.text != utterance.original for utterance in utterances)
    lines = [f"text changes: {changed} of {len(utterances)} texts; each in SPLIT_{TEXT_CHANGES}; by kind:"]
    return lines + [f"  {kind:<21} {count:>7}  {examples[kind]}" for kind, count in counts.most_common()]


def _difference(before: str, after: str) -> tuple[str, str]:
    """The words in which two texts differ first, at most 30 characters of each."""
    a, b = before.split(), after.split()
    start = next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
    same_end = 0
    while same_end < min(len(a), len(b)) - start and a[-1 - same_end] == b[-1 - same_end]:
        same_end += 1
    pieces = (" ".join(words[start : len(words) - same_end]) for words in (a, b))
    first, second = (piece if len(piece) <= 30 else piece[:29] + "…" for piece in pieces)
    return (first, second) if first != second else (before[:30], after[:30])


def _describe_characters(utterances: Sequence[PreparedUtterance], labels: frozenset[str]) -> list[str]:
    counts: Counter[str] = Counter()
    examples: dict[str, PreparedUtterance] = {}
    for utterance in utterances:
        counts.update(utterance.text)
        for character in set(utterance.text):
            examples.setdefault(character, utterance)
    if not labels:
        return [f"characters: {''.join(sorted(counts))!r}"]
    outside = [(character, count) for character, count in counts.most_common() if character not in labels]
    if not outside:
        return ["characters outside the labels: none"]
    return ["characters outside the labels:"] + [
        f"  {c!r} U+{ord(c):04X} {count} times, first in {examples[c].path}: {examples[c].text[:60]!r}"
        for c, count in outside
    ]
