"""Writes the recordings of a manifest to TFRecord shards: resumable, in parallel, the same bytes every time."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from jasper_tf.data.manifest.columns import Manifest, read_manifest
from jasper_tf.data.manifest.line import Utterance
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
        finished: list[_Written] = []
        bad = 0
        for number, name in enumerate(names):
            span = range(int(first[number]), int(first[number + 1]))
            written = _finished(output, name)
            if written is None or (written.skipped and on_bad_audio == "error"):
                left = max_bad_audio * len(manifest) - bad if on_bad_audio == "skip" else None
                written = _write_shard(output / name, manifest, span, settings, workers, left, progress)
                with atomic_write(_note(output, name)) as file:
                    json.dump(asdict(written), file)
            else:
                logger.info("%s: kept, was finished before", name)
                for reason in written.skipped:
                    logger.warning("left out %s", reason)
            bad += len(written.skipped)
            finished.append(written)
            progress(span.stop, len(manifest))
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


def _write_shard(
    path: Path,
    manifest: Manifest,
    span: range,
    settings: ShardSettings,
    workers: int,
    may_skip: float | None,
    progress: Callable[[int, int], None],
) -> _Written:
    def record(i: int) -> tuple[Utterance, tuple[bytes, int, bool, int] | UserError]:
        utterance = manifest[i]
        try:
            audio = load_utterance(utterance, settings.sample_rate, settings.channel_selector)
        except UserError as error:
            return utterance, error
        pcm, rounded, clipped = quantize(audio)
        data = encode_record(pcm, settings.sample_rate, settings.codec, utterance.text)
        return utterance, (frame_record(data), len(pcm), rounded, clipped)

    written = _Written(Shard(path.name, 0, 0, 0, ""))
    digest, position, samples = hashlib.sha256(), 0, 0
    try:
        with atomic_write(path, binary=True) as file:
            for i, (utterance, found) in zip(span, map_in_order(record, span, workers), strict=True):
                if isinstance(found, UserError):
                    if may_skip is None:
                        # A channel that it lacks is a mistake in the settings.
                        of_settings = isinstance(found, AudioError) and found.kind == "channel"
                        kind = UserError if of_settings else DataError
                        raise kind(f"{utterance.source}: {found}; or leave it out: --on-bad-audio skip")
                    written.skipped.append(f"{utterance.source}: {found}")
                    written.records.append(None)
                    logger.warning("left out %s", written.skipped[-1])
                    if len(written.skipped) > may_skip:
                        raise DataError(
                            f"more than the share of recordings that --max-bad-audio allows cannot be read; the last: "
                            f"{written.skipped[-1]}"
                        )
                else:
                    frame, length, rounded, clipped = found
                    file.write(frame)
                    digest.update(frame)
                    written.records.append([position, len(frame)])
                    written.rounded += rounded
                    written.clipped_samples += clipped
                    position += len(frame)
                    samples += length
                progress(i + 1, len(manifest))
    except OSError as error:
        raise UserError(f"{path}: cannot write ({error.strerror}); make room and run the same command again") from None
    kept = len(span) - len(written.skipped)
    written.shard = Shard(path.name, kept, samples, position, digest.hexdigest())
    return written


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


def _note(output: Path, name: str) -> Path:
    return output / UNFINISHED_NAME / f"{name}.json"


def _finished(output: Path, name: str) -> _Written | None:
    """What an interrupted run recorded about a shard, if the shard is unchanged since."""
    try:
        values = json.loads(_note(output, name).read_bytes())
        written = _Written(**{**values, "shard": Shard(**values["shard"])})
        path = output / name
        whole = path.stat().st_size == written.shard.bytes and file_sha256(str(path)) == written.shard.sha256
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return written if whole else None


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
