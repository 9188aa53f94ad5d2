"""Writes the recordings of a manifest to TFRecord shards: resumable, in parallel, the same bytes every time."""

from __future__ import annotations

import fcntl
import functools
import hashlib
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jasper_tf.data.jobs.run_parts import result_file, run_parts
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
    file_sha256,
    read_index,
)
from jasper_tf.data.storage.shard_plan import ShardSettings, describe_source, plan_shards
from jasper_tf.data.storage.shard_record import encode_record, frame_record
from jasper_tf.data.storage.utterance_audio import load_utterance
from jasper_tf.errors import AudioError, DataError, UserError
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.progress import logger
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
        output: a new or empty folder, or one that an interrupted run with the same arguments left.
        settings: of the shards.
        workers: threads that decode.
        on_bad_audio: "error" stops at the first recording that cannot be read, "skip" leaves it out and logs it.
        max_bad_audio: the share of utterances that "skip" may leave out.
        progress: is called with how many utterances are done, and how many there are.
        runner: an engine, or processes for many shards: each writes whole shards. Default: this process alone.

    Raises:
        UserError: the manifest or a setting is wrong, or `output` holds something else or cannot be written to.
        DataError: recordings cannot be read, more than may be left out.
    """
    output = Path(output)
    manifest = read_manifest(manifests, files_exist=True)
    source = describe_source(manifests, manifest, settings)
    names, first = plan_shards(manifest.duration_s, settings)
    with _claimed(output, source) as done:
        if done is not None:
            logger.info("%s: is complete already", output)
            return done
        skip = on_bad_audio == "skip"
        most = max_bad_audio * len(manifest) if skip else None
        kept = [_finished(output, number, name, skip) for number, name in enumerate(names)]
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


class _Parts(Sequence[tuple[str, list[UtteranceSpan]]]):
    """Of each shard the name and the utterances."""

    def __init__(self, manifest: Manifest, names: list[str], first: np.ndarray):
        self.manifest = manifest
        self.names = names
        self.first = first

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, number):
        return self.names[number], self.manifest.spans(int(self.first[number]), int(self.first[number + 1]))


def _in_turn(
    output: Path,
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
            for n, reason in enumerate(_write_shard(output / name, utterances, settings, workers, left, written)):
                if reason:
                    logger.warning("left out %s", reason)
                progress(span.start + n + 1, total)
            with atomic_write(result_file(output / UNFINISHED_NAME, number)) as file:
                json.dump({"value": asdict(written)}, file)
        bad += len(written.skipped)
        yield written


def _by_workers(
    output: Path,
    parts: _Parts,
    settings: ShardSettings,
    most: float | None,
    kept: list[_Written | None],
    progress: Callable[[int, int], None],
    runner: Runner,
) -> Iterator[_Written]:
    bad = 0
    results = run_parts(
        functools.partial(_write_part, str(output), settings, most), parts, runner, output / UNFINISHED_NAME
    )
    for number, found in enumerate(results):
        written = _read(found.value)
        bad += len(written.skipped)
        if kept[number] is None:
            for reason in written.skipped:
                logger.warning("left out %s", reason)
            if most is not None and bad > most:
                raise _too_many(written.skipped[-1])
            for i in range(int(parts.first[number]), int(parts.first[number + 1])):  # counts for the speed
                progress(i + 1, len(parts.manifest))
        yield written


def _write_part(output: str, settings: ShardSettings, most: float | None, part: tuple[str, list[UtteranceSpan]]) -> Any:
    """Writes one of `_Parts`; what the workers call."""
    name, spans = part
    written = _Written(Shard(name, 0, 0, 0, ""))
    for _ in _write_shard(Path(output) / name, itertools.chain.from_iterable(spans), settings, 1, most, written):
        pass
    return asdict(written)


def _write_shard(
    path: Path,
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
    written.shard = Shard(path.name, kept, samples, position, digest.hexdigest())


def _too_many(last: str) -> DataError:
    return DataError(f"more than the share of recordings that --max-bad-audio allows cannot be read; the last: {last}")


def _finish(
    output: Path,
    manifest: Manifest,
    names: list[str],
    first: np.ndarray,
    finished: list[_Written],
    source: dict[str, Any],
) -> ShardIndex:
    digest, size = hashlib.sha256(), 0
    with atomic_write(output / MANIFEST_NAME, binary=True) as file:
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
    with atomic_write(output / INDEX_NAME) as file:
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


def _finished(output: Path, number: int, name: str, skip: bool) -> _Written | None:
    """What an interrupted run recorded about a shard, if the shard is unchanged since; else it is forgotten."""
    note = result_file(output / UNFINISHED_NAME, number)
    try:
        written = _read(json.loads(note.read_bytes())["value"])
        path = output / name
        whole = path.stat().st_size == written.shard.bytes and file_sha256(str(path)) == written.shard.sha256
    except (OSError, ValueError, KeyError, TypeError):
        whole = False
    if whole and (skip or not written.skipped):
        return written
    note.unlink(missing_ok=True)
    return None


@contextmanager
def _claimed(output: Path, source: dict[str, Any]) -> Iterator[ShardIndex | None]:
    """`output` for this run alone; gives the index when all was finished before."""
    unfinished = output / UNFINISHED_NAME
    plan = unfinished / "plan.json"
    try:
        output.mkdir(parents=True, exist_ok=True)
        index = read_index(str(output))
        before = index.settings if index else json.loads(plan.read_bytes()) if plan.exists() else None
        there = [file.name for file in output.iterdir() if not file.name.startswith(".")]
        if before is None and there:
            raise UserError(f"--output {output}: holds something else ({there[0]}); name a new folder")
        if before != source and there:
            assert before is not None
            other = [key for key in source if before.get(key) != source[key]]
            named = ", ".join("manifest" if key == "source_sha256" else key for key in other)
            raise UserError(
                f"--output {output}: holds shards made with another {named}; name a new folder, or delete this one"
            )
        unfinished.mkdir(exist_ok=True)
        with open(unfinished / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"--output {output}: another run is writing there; wait for it") from None
            for partial in output.glob(".writing-*"):
                partial.unlink()
            if index is None:
                with atomic_write(plan) as file:
                    json.dump(source, file)
            yield index
            shutil.rmtree(unfinished)
    except OSError as error:
        raise UserError(f"--output {output}: cannot write there ({error.strerror})") from None
