"""What is finished in a folder of shards that is being written, so that an interrupted run goes on."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from jasper_tf.data.jobs.run_parts import result_file
from jasper_tf.data.storage.shard_index import UNFINISHED_NAME, ShardIndex, file_sha256, read_index
from jasper_tf.errors import UserError
from jasper_tf.io.atomic_write import atomic_write
from jasper_tf.io.object_storage import list_remote, read_remote, remove_remote
from jasper_tf.io.remote import is_remote, remote_name

_PLAN = f"{UNFINISHED_NAME}/plan.json"


@contextmanager
def claimed_folder(output: str, source: Mapping[str, Any]) -> Iterator[ShardIndex | None]:
    """A folder for one run of `write_shards`; gives the index when all was finished before.

    Object storage has no locks: there the caller sees to it that no other run writes.

    Args:
        output: the folder; made if absent.
        source: what the shards depend on, as `describe_source` returns it.

    Raises:
        UserError: it holds something else, or another run is writing there, or it cannot be written to.
    """
    if is_remote(output):
        there = list(list_remote(output))
        index = read_index(output)
        plan = read_remote(remote_name(output, _PLAN)) if _PLAN in there else None
        _require_same(output, source, index, plan, there)
        if index is None:
            _write_json(remote_name(output, _PLAN), source)
        yield index
        for name in list_remote(remote_name(output, UNFINISHED_NAME)):
            remove_remote(remote_name(output, f"{UNFINISHED_NAME}/{name}"))
        return
    folder = Path(output)
    unfinished = folder / UNFINISHED_NAME
    try:
        folder.mkdir(parents=True, exist_ok=True)
        index = read_index(output)
        plan = (folder / _PLAN).read_bytes() if (folder / _PLAN).exists() else None
        _require_same(output, source, index, plan, os.listdir(folder))
        unfinished.mkdir(exist_ok=True)
        with open(unfinished / "lock", "w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise UserError(f"--output {output}: another run is writing there; wait for it") from None
            for partial in folder.glob(".writing-*"):
                partial.unlink()
            if index is None:
                _write_json(folder / _PLAN, source)
            yield index
            shutil.rmtree(unfinished)
    except OSError as error:
        raise UserError(f"--output {output}: cannot write there ({error.strerror})") from None


def finished_shards(output: str, names: list[str], skipped_allowed: bool) -> list[dict[str, Any] | None]:
    """What an interrupted run noted about each shard, if the shard is unchanged since; else the note is removed.

    In object storage, where a file appears complete or not at all, its size is compared, otherwise its checksum.

    Args:
        output: the folder.
        names: of all shards.
        skipped_allowed: whether a shard without some of its utterances counts.
    """
    there = list_remote(output) if is_remote(output) else None
    return [_finished(output, number, name, skipped_allowed, there) for number, name in enumerate(names)]


def note_finished(output: str, number: int, value: Any) -> None:
    """Notes what is to be known of a finished shard: JSON with `shard` and `skipped`."""
    _write_json(_note(output, number), {"value": value})


def _finished(
    output: str, number: int, name: str, skipped_allowed: bool, there: Mapping[str, int] | None
) -> dict[str, Any] | None:
    note, path = _note(output, number), remote_name(output, name)
    try:
        if there is None:
            value = json.loads(Path(note).read_bytes())["value"]
            shard = value["shard"]
            whole = os.path.getsize(path) == shard["bytes"] and file_sha256(path) == shard["sha256"]
        elif note.removeprefix(f"{output.rstrip('/')}/") in there:
            value = json.loads(read_remote(note))["value"]
            whole = there.get(name) == value["shard"]["bytes"]
        else:
            return None
        if whole and (skipped_allowed or not value["skipped"]):
            return value
    except (OSError, ValueError, KeyError, TypeError) as error:
        if isinstance(error, UserError):
            raise
    if there is None:
        Path(note).unlink(missing_ok=True)
    else:
        remove_remote(note)
    return None


def _note(output: str, number: int) -> str:
    return remote_name(output, str(result_file(Path(UNFINISHED_NAME), number)))


def _require_same(
    output: str, source: Mapping[str, Any], index: ShardIndex | None, plan: bytes | None, there: Iterable[str]
) -> None:
    before = index.settings if index else json.loads(plan) if plan else None
    others = [name for name in there if not name.startswith(".")]
    if before is None and others:
        raise UserError(f"--output {output}: holds something else ({others[0]}); name a new folder")
    if before != source and others:
        assert before is not None
        other = [key for key in source if before.get(key) != source[key]]
        named = ", ".join("manifest" if key == "source_sha256" else key for key in other)
        raise UserError(
            f"--output {output}: holds shards made with another {named}; name a new folder, or delete this one"
        )


def _write_json(path: str | Path, value: Any) -> None:
    with atomic_write(path) as file:
        json.dump(value, file)
