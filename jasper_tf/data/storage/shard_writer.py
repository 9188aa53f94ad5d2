"""Writes the recordings of a manifest to TFRecord shards: resumable, in parallel, the same bytes every time."""

from __future__ import annotations

import functools
import hashlib
import itertools
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jasper_tf.data.jobs.run_parts import PartResult, result_file, run_parts
from jasper_tf.data.jobs.runner import Runner
from jasper_tf.data.manifest.columns import Manifest, read_manifest
from jasper_tf.data.manifest.line import Utterance
from jasper_tf.data.manifest.utterance_span import UtteranceSpan
from jasper_tf.data.storage.shard_index import (
    INDEX_NAME,
    MANIFEST_NAME,
    UNFINISHED_NAME,
    Shard,
    ShardIndex,
)
from jasper_tf.data.storage.shard_plan import ShardSettings, describe_source, plan_shards
from jasper_tf.data.storage.shard_progress import claimed_folder, finished_shards, note_finished
from jasper_tf.data.storage.shard_record import encode_record, frame_record
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import AudioError, DataError, UserError
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.progress import logger
from jasper_tf.io.remote import is_remote, remote_name
from jasper_tf.io.thread_pool import map_in_order

_FEW = 4
"""Shards for each process: for fewer its start, with TensorFlow, takes longer than it saves."""


@dataclass
class _Written:
    """A finished shard: what the index says of it, and what the manifest needs."""

    shard: Shard
    records: list[list[int] | None] = field(default_factory=list)
    """First byte and size of each utterance of the plan; None: left out."""
    skipped: list[str] = field(default_factory=list)
    rounded: int = 0
    clipped_samples: int = 0


def write_shards(
    manifests: str | Sequence[str],
    output: str | Path,
    settings: ShardSettings,
    *,
    workers: int = 1,
    on_bad_audio: str = "error",
    max_bad_audio: float = 0.01,
    progress: Callable[[int, int], None] = lambda done, total: None,
    runner: Runner | None = None,
) -> ShardIndex:
    """Writes the utterances of `manifests` to shards in `output`, with manifest.jsonl and, last, index.json.

    The bytes depend on the manifests, their audio and `settings` only. What an interrupted run finished is verified and
    kept. Samples are int16: those of 16-bit mono files at the wanted rate are the same, others are rounded to the
    nearest and clipped at full scale.

    Args:
        manifests: as `read_manifest` takes them.
        output: a new or empty folder, in object storage too, or one that an interrupted run with the same arguments
            left.
        settings: of the shards.
        workers: threads that decode.
        on_bad_audio: "error" stops at the first recording that cannot be read, "skip" leaves it out and logs it.
        max_bad_audio: the share of utterances that "skip" may leave out.
        progress: is called with how many utterances are done, and how many there are.
        runner: an engine, or processes for many shards: each writes whole shards. Default: this process alone.

    Raises:
        UserError: the manifest or a setting is wrong, or `output` holds something else or cannot be written to, or is
            in object storage and the workers of the engine are on other machines.
        DataError: recordings cannot be read, more than may be left out.
    """
    output = os.fspath(output)
    if is_remote(output) and runner is not None and runner.engine not in (None, "direct"):
        raise UserError(
            f"--output {output}: --runner {runner.engine} writes to a folder that every worker sees; name one"
        )
    manifest = read_manifest(manifests, files_exist=True)
    source = describe_source(manifests, manifest, settings)
    names, first = plan_shards(manifest.duration_s, settings)
    with claimed_folder(output, source) as done:
        if done is not None:
            logger.info("%s: is complete already", output)
            return done
        skip = on_bad_audio == "skip"
        most = max_bad_audio * len(manifest) if skip else None
        kept = [None if found is None else _read(found) for found in finished_shards(output, names, skip)]
        if runner is not None and (runner.engine or len(names) >= _FEW * runner.workers > _FEW):
            results = _by_workers(output, _Parts(manifest, names, first), settings, most, kept, progress, runner)
        else:
            results = _in_turn(output, _Parts(manifest, names, first), settings, workers, most, kept, progress)
        finished = []
        for number, written in enumerate(results):
            if kept[number] is not None:
                logger.info("%s: kept, was finished before", names[number])
                for reason in written.skipped:
                    logger.warning("left out %s", reason)
            finished.append(written)
            progress(int(first[number + 1]), len(manifest))
        bad = sum(len(written.skipped) for written in finished)
        if bad == len(manifest):
            raise DataError(f"{output}: none of the {bad} recordings can be read")
        return _finish(output, manifest, names, first, finished, source)


def quantize(audio: np.ndarray) -> tuple[np.ndarray, bool, int]:
    """audio [S] float, full scale 1 -> [S] int16 rounded to the nearest, whether that changed any, samples clipped."""
    scaled = audio * np.float32(32768)
    rounded = np.rint(scaled)
    clipped = int(np.count_nonzero((rounded > 32767) | (rounded < -32768)))
    pcm = np.clip(rounded, -32768, 32767).astype(np.int16)
    return pcm, bool((pcm != scaled).any()), clipped


class _Parts(Sequence[tuple[int, str, list[UtteranceSpan]]]):
    """Of each shard its number, its name and the utterances."""

    def __init__(self, manifest: Manifest, names: list[str], first: np.ndarray):
        self.manifest = manifest
        self.names = names
        self.first = first

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number):
        return number, self.names[number], self.manifest.spans(int(self.first[number]), int(self.first[number + 1]))


def _in_turn(
    output: str,
    parts: _Parts,
    settings: ShardSettings,
    workers: int,
    most: float | None,
    kept: list[_Written | None],
    progress: Callable[[int, int], None],
) -> Iterator[_Written]:
    bad = 0
    total = len(parts.manifest)
    for number, name in enumerate(parts.names):
        written = kept[number]
        if written is None:
            span = range(int(parts.first[number]), int(parts.first[number + 1]))
            utterances = (parts.manifest[i] for i in span)
            left = None if most is None else most - bad
            written = _Written(Shard(name, 0, 0, 0, ""))
            reasons = _write_shard(remote_name(output, name), utterances, settings, workers, left, written)
            for n, reason in enumerate(reasons):
                if reason:
                    logger.warning("left out %s", reason)
                progress(span.start + n + 1, total)
            note_finished(output, number, asdict(written))
        bad += len(written.skipped)
        _require_few(bad, most, written)
        yield written


def _by_workers(
    output: str,
    parts: _Parts,
    settings: ShardSettings,
    most: float | None,
    kept: list[_Written | None],
    progress: Callable[[int, int], None],
    runner: Runner,
) -> Iterator[_Written]:
    bad = 0
    write = functools.partial(_write_part, output, settings, most)
    for number, found in enumerate(_results(write, parts, runner, output, kept)):
        written = _read(found.value)
        bad += len(written.skipped)
        if kept[number] is None:
            for reason in written.skipped:
                logger.warning("left out %s", reason)
            for i in range(int(parts.first[number]), int(parts.first[number + 1])):  # counts for the speed
                progress(i + 1, len(parts.manifest))
        _require_few(bad, most, written)
        yield written


def _results(
    write: Callable[[Any], Any], parts: _Parts, runner: Runner, output: str, kept: list[_Written | None]
) -> Iterator[PartResult]:
    if not is_remote(output):
        yield from run_parts(write, parts, runner, Path(output, UNFINISHED_NAME))
        return
    with tempfile.TemporaryDirectory(prefix="jasper-tf-parts-") as folder:
        for number, written in enumerate(kept):
            if written is not None:
                result_file(Path(folder), number).write_text(json.dumps({"value": asdict(written)}))
        yield from run_parts(write, parts, runner, folder)


def _write_part(
    output: str, settings: ShardSettings, most: float | None, part: tuple[int, str, list[UtteranceSpan]]
) -> Any:
    """Writes one of `_Parts`; what the workers call."""
    number, name, spans = part
    written = _Written(Shard(name, 0, 0, 0, ""))
    for _ in _write_shard(remote_name(output, name), itertools.chain.from_iterable(spans), settings, 1, most, written):
        pass
    if is_remote(output):
        note_finished(output, number, asdict(written))
    return asdict(written)


def _write_shard(
    path: str,
    utterances: Iterable[Utterance],
    settings: ShardSettings,
    workers: int,
    may_skip: float | None,
    written: _Written,
) -> Iterator[str]:
    """Writes one shard and fills `written`; yields for each utterance why it is left out, or ""."""

    def record(utterance: Utterance) -> tuple[Utterance, tuple[bytes, int, bool, int] | UserError]:
        try:
            audio = load_utterance(utterance, settings.sample_rate, settings.channel_selector)
        except UserError as error:
            return utterance, error
        pcm, rounded, clipped = quantize(audio)
        data = encode_record(pcm, settings.sample_rate, settings.codec, utterance.text)
        return utterance, (frame_record(data), len(pcm), rounded, clipped)

    digest, position, samples = hashlib.sha256(), 0, 0
    try:
        with atomic_write(path, binary=True) as file:
            for utterance, found in map_in_order(record, utterances, workers):
                reason = ""
                if isinstance(found, UserError):
                    if may_skip is None:
                        # A channel that it lacks is a mistake in the settings.
                        of_settings = isinstance(found, AudioError) and found.kind == "channel"
                        kind = UserError if of_settings else DataError
                        raise kind(f"{utterance.source}: {found}; or leave it out: --on-bad-audio skip")
                    reason = f"{utterance.source}: {found}"
                    written.skipped.append(reason)
                    written.records.append(None)
                    if len(written.skipped) > may_skip:
                        raise _too_many(reason)
                else:
                    frame, length, rounded, clipped = found
                    file.write(frame)
                    digest.update(frame)
                    written.records.append([position, len(frame)])
                    written.rounded += rounded
                    written.clipped_samples += clipped
                    position += len(frame)
                    samples += length
                yield reason
    except OSError as error:
        raise UserError(f"{path}: cannot write ({error.strerror}); make room and run the same command again") from None
    kept = len(written.records) - len(written.skipped)
    written.shard = Shard(os.path.basename(path), kept, samples, position, digest.hexdigest())


def _require_few(bad: int, most: float | None, written: _Written) -> None:
    if most is not None and bad > most and written.skipped:
        raise _too_many(written.skipped[-1])


def _too_many(last: str) -> DataError:
    return DataError(f"more than the share of recordings that --max-bad-audio allows cannot be read; the last: {last}")


def _finish(
    output: str,
    manifest: Manifest,
    names: list[str],
    first: np.ndarray,
    finished: list[_Written],
    source: dict[str, Any],
) -> ShardIndex:
    digest, size = hashlib.sha256(), 0
    with atomic_write(remote_name(output, MANIFEST_NAME), binary=True) as file:
        for number, (name, written) in enumerate(zip(names, finished, strict=True)):
            for i, record in enumerate(written.records, start=int(first[number])):
                if record is not None:
                    line = _manifest_line(manifest[i], name, record)
                    file.write(line)
                    digest.update(line)
                    size += len(line)
    shards = [written.shard for written in finished]
    index = ShardIndex(
        utterances=sum(shard.utterances for shard in shards),
        hours=sum(shard.samples for shard in shards) / source["sample_rate"] / 3600,
        settings=source,
        skipped=sum(len(written.skipped) for written in finished),
        rounded=sum(written.rounded for written in finished),
        clipped_samples=sum(written.clipped_samples for written in finished),
        manifest_bytes=size,
        manifest_sha256=digest.hexdigest(),
        shards=shards,
    )
    with atomic_write(remote_name(output, INDEX_NAME)) as file:
        file.write(index.to_json())
    return index


def _manifest_line(utterance: Utterance, shard: str, record: list[int]) -> bytes:
    """The line of the source with the audio's new place; the old one goes to keys of its own, as in NeMo."""
    folder = os.path.dirname(os.path.abspath(utterance.source.rpartition(":")[0]))
    inside = utterance.path.startswith(folder + "/")
    before = {"source_audio_filepath": utterance.path[len(folder) + 1 :] if inside else utterance.path}
    entry = {
        "audio_filepath": shard,
        "record": record,
        "duration": utterance.duration_s,
        "text": utterance.text,
        **before,
        **({"source_audio_offset": utterance.offset_s} if utterance.offset_s else {}),
        **utterance.extra,
    }
    try:
        return json.dumps(entry, ensure_ascii=False).encode() + b"\n"
    except UnicodeEncodeError:  # half a surrogate pair can only be written as an escape
        return json.dumps(entry).encode() + b"\n"


def _read(values: dict[str, Any]) -> _Written:
    return _Written(**{**values, "shard": Shard(**values["shard"])})
